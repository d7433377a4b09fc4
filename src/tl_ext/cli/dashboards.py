"""A latent's dashboard in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_ext.report import palette
from tl_ext.report.dashboard import Dashboard, ShownContext, digits, histogram, shade
from tl_ext.report.wording import visible

if TYPE_CHECKING:
    from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def print_dashboard(mark: Dashboard) -> None:
    """Print a latent: facts, distribution, logit lens, texts coloured by activation."""
    from rich.console import Console
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False)
    console.print(Rule(Text(mark.title, style="bold"), align="left"))
    console.print(Text(visible(mark.note.replace("`", "")), style="dim"))
    console.print(Text("   ".join(f"{name} {value}" for name, value in mark.facts)))
    drawn = histogram(mark)
    if drawn is not None:
        bars = "".join(_EIGHTHS[max(1, round(8 * bar.height))] for bar in drawn["bars"])
        marked = ", ".join(one["told"] for one in drawn["markers"])
        console.print(Text(f"{bars}  {marked}"))
    for weights in mark.weights:
        told = "  ".join(
            f"{visible(token, space='·')} {value:+.1f}"
            for token, value in zip(weights.tokens, weights.values, strict=True)
        )
        console.print(Text.assemble((f"{weights.name}: ", "bold"), told))
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True, style="dim")
    for context in mark.contexts:
        peak = digits(context.values[context.peak])
        table.add_row(
            peak, _coloured(context, mark.largest, plain=not console.is_terminal), context.note
        )
    console.print(table)
    if mark.link:
        console.print(Text(mark.link))
    console.print()


def _coloured(context: ShownContext, largest: float, *, plain: bool) -> Text:
    """The text with its activations as colours; the peak in brackets where there are no colours."""
    from rich.text import Text

    text = Text()
    for place, (token, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        said = visible(token)
        if place == context.peak and plain:
            said = f"[{said}]"
        style = "bold underline " if place == context.peak else ""
        if value and value > 0 and largest:
            fill = shade(value / largest)
            style += f"{palette.text_on(fill)} on {fill}"
        text.append(said, style=style)
    return text
