"""`tl-ext tokens`: how probable a text's tokens are."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options


def tokens(
    text: Annotated[str, typer.Argument(help="The text.")],
    model: options.Model = "testbed",
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
) -> None:
    """Print the probability of each token of a text given those before it."""
    from tl_ext.cli import chosen
    from tl_ext.models.loading import load_model
    from tl_ext.study.calls.tokens import token_probabilities
    from tl_ext.upstream import prefix_ids

    hooked = load_model(model, device=device, trust_remote_code=trust_remote_code)
    found = token_probabilities(hooked, text)
    shown = found.table.assign(string=[repr(one) for one in found.table["string"]])
    chosen.show(shown, formats={"probability": ".4f"})
    prefix = prefix_ids(hooked.tokenizer)
    if prefix:
        said = " ".join(map(str, hooked.tokenizer.convert_ids_to_tokens(prefix)))
        typer.echo(f"Before the text stands {said} ({', '.join(map(str, prefix))}).")
    chosen.write(found.table, csv, found.figure(), figure)
