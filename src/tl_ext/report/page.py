"""One page that carries everything it needs: sections of text, figures, tables and samples.

The page makes no request: plotly.js, styles and data are in it, and its content security policy
forbids every connection and every script but its own two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tl_ext.errors import InputError
from tl_ext.files import write_whole
from tl_ext.report import _coerce
from tl_ext.report.dashboard import Dashboard, Dashboards
from tl_ext.report.marks import Mark, Samples, TableMark, TokenText

LONG = 400  # characters of conclusions; about nine lines of half the page's width


@dataclass(frozen=True)
class Paragraph:
    """Text between figures.

    Attributes:
        text: `Backticks` are shown as code.
        kind: "note" and "warning" are set apart.
    """

    text: str
    kind: str = "plain"

    def __post_init__(self) -> None:
        _coerce.one_of(self.kind, ("plain", "note", "warning"), "Paragraph.kind")


@dataclass(frozen=True)
class Figure:
    """A mark with its caption.

    Attributes:
        mark: What is shown, by any mark.
        caption: What it shows, and how it was made.
        may: What a reader may conclude; a text or several.
        may_not: What a reader may not conclude.
        png: Where its picture lies, relative to the page.
        csv: Where its table lies, relative to the page.
    """

    mark: Mark
    caption: str = ""
    may: Any = ()
    may_not: Any = ()
    png: str | Path | None = None
    csv: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mark, Mark):
            raise InputError(f"Figure.mark: got a {type(self.mark).__name__}; expected a mark.")
        for name in ("may", "may_not"):
            given = getattr(self, name)
            said = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, tuple(_coerce.text(one) for one in said if one))
        for name in ("png", "csv"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _beside(given, f"Figure.{name}"))

    @property
    def kind(self) -> str:
        """What the page calls it."""
        return "Table" if isinstance(self.mark, TableMark) else "Figure"

    @property
    def says_much(self) -> bool:
        """Whether its conclusions are too long to stand side by side."""
        return max(sum(map(len, self.may)), sum(map(len, self.may_not))) > LONG

    @property
    def needs_script(self) -> bool:
        """Whether it is drawn by plotly.js."""
        return not isinstance(self.mark, TableMark | TokenText | Samples | Dashboard | Dashboards)


Block = Paragraph | Figure


@dataclass(frozen=True)
class Section:
    """A part of the page, with an entry in its table of contents.

    Attributes:
        id: Its address on the page (`#id`): small letters, digits and hyphens.
        title: Its heading.
        lead: What it asks or says, in a sentence or two.
        blocks: Paragraphs and figures; a text is a paragraph, a mark a figure without caption.
    """

    id: str
    title: str
    lead: str = ""
    blocks: Any = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.id) or re.match(
            r"(figure|table)-\d|summary$|top$", self.id
        ):
            raise InputError(
                f"Section.id: got {self.id!r}; expected small letters, digits and hyphens, "
                "beginning with a letter, and not 'summary', 'top', 'figure-1' or 'table-1'."
            )
        blocks = tuple(_block(block) for block in self.blocks)
        object.__setattr__(self, "blocks", blocks)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole report.

    Attributes:
        title: Its heading.
        subtitle: What it is, in a sentence.
        sections: Its parts, in order.
        summary: How it was made: model, dictionaries, versions, seeds. Mappings and lists nest.
        footer: Last words.
        lang: The language of its text (BCP 47).
    """

    title: str
    subtitle: str = ""
    sections: tuple[Section, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    footer: str = ""
    lang: str = "en"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sections", tuple(self.sections))
        ids = [section.id for section in self.sections]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise InputError(f"Page.sections: the id {twice[0]!r} is given twice; expected one.")
        object.__setattr__(self, "summary", dict(self.summary))


def render(page: Page) -> str:
    """The page as HTML.

    Args:
        page: The report.

    Returns:
        One self-contained document; the same page gives the same document.
    """
    from markupsafe import Markup

    from tl_ext.report import html
    from tl_ext.report.interactive import plotly_js

    counts = {"Figure": 0, "Table": 0}
    scripted = False
    sections = []
    for section in page.sections:
        blocks: list[dict[str, Any]] = []
        for block in section.blocks:
            if isinstance(block, Paragraph):
                blocks.append({"paragraph": block})
                continue
            counts[block.kind] += 1
            scripted = scripted or block.needs_script
            name = f"{block.kind.lower()}-{counts[block.kind]}"
            blocks.append(
                {
                    "paragraph": None,
                    "figure": block,
                    "name": name,
                    "label": f"{block.kind} {counts[block.kind]}",
                    "content": html.fragment(block.mark, name),
                }
            )
        sections.append({"section": section, "blocks": blocks})
    scripts = [html.source("draw.js") + html.source("page.js")]
    if scripted:
        scripts.insert(0, plotly_js())
    return (
        html.environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=sections,
            summary=[_item(key, value) for key, value in page.summary.items()],
            styles=Markup(html.source("page.css") + html.source("marks.css")),
            scripts=[Markup(script) for script in scripts],
            hashes=" ".join(_hash(script) for script in scripts),
        )
    )


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page; it appears under its name only when it is complete.

    Args:
        page: The report.
        path: The file, by custom `index.html`.

    Returns:
        The path.

    Raises:
        OutputError: It cannot be written there.
    """
    return write_whole(Path(path), _coerce.text(render(page)).encode("utf-8"))


def _block(given: object) -> Block:
    if isinstance(given, str):
        return Paragraph(given)
    if isinstance(given, Mark):
        return Figure(given)
    if isinstance(given, Paragraph | Figure):
        return given
    raise InputError(
        f"Section.blocks: got a {type(given).__name__}; expected a Figure, a Paragraph, a mark or "
        "a text."
    )


def _beside(given: str | Path, what: str) -> str:
    """A path relative to the page, as an address."""
    path = Path(given).as_posix() if isinstance(given, Path) else given
    if path.startswith("/") or ":" in path or "\\" in path or ".." in path.split("/"):
        raise InputError(
            f"{what}: got {str(given)!r}; expected a path below the page's folder, such as "
            "'figures/happy.png'."
        )
    return quote(path)


def _item(key: object, value: Any) -> dict[str, Any]:
    """An entry of the summary: a text, or entries of its own."""
    out: dict[str, Any] = {"key": str(key), "text": None, "items": None, "list": None}
    if isinstance(value, Mapping):
        out["items"] = [_item(k, v) for k, v in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        many = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        if any(isinstance(one, Mapping) for one in many):
            out["items"] = [_item(i + 1, one) for i, one in enumerate(many)]
        else:
            out["list"] = [str(one) for one in many]
    else:
        out["text"] = value
    return out


def _hash(script: str) -> str:
    """A script as a content security policy names it."""
    import base64
    import hashlib

    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
