"""The page as text: one file, escaped, the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from tests.report.demo import HOSTILE, page

from tl_ext.errors import InputError, OutputError
from tl_ext.report import Figure, Heatmap, Page, Section, TokenText, render, write_page


class Reader(HTMLParser):
    """What a browser would find on the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append((self.tags[-1][1], data))
            self.tags.append(("end", {}))
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def text() -> str:
    return render(page(layers=3, wide=12))


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_it_is_the_same_every_time(text: str) -> None:
    assert render(page(layers=3, wide=12)) == text


def test_it_fetches_nothing(read: Reader) -> None:
    for tag, attributes in read.tags:
        assert not attributes.get("src"), (tag, attributes)
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        if tag == "link":
            assert attributes["href"] == "data:,"
    policy = next(a["content"] for t, a in read.tags if "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'") and "connect-src" not in policy


def test_only_its_own_scripts_may_run(read: Reader) -> None:
    policy = next(a["content"] for t, a in read.tags if "http-equiv" in a) or ""
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [data for attributes, data in read.scripts if "type" not in attributes]
    digests = {base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code}
    assert len(code) == 2 and digests == allowed
    assert not re.search(r"script-src[^;]*unsafe", policy)


def test_text_from_outside_stays_text(read: Reader) -> None:
    assert not [a for t, a in read.tags if t == "img"]
    assert not [name for _, a in read.tags for name in a if name.startswith("on")]
    shown = "".join(read.words)
    assert "<script>alert('x')</script> & \"quoted\" </script><!-- <img src=x" in shown
    assert "\u202e" not in shown and "‹U+202E›" in shown


def test_figures_carry_their_data_as_json(read: Reader) -> None:
    data = [json.loads(text) for a, text in read.scripts if a.get("type") == "application/json"]
    assert len(data) >= 10 and all({"data", "layout"} == set(one) for one in data)


def test_links_are_safe(read: Reader) -> None:
    for tag, attributes in read.tags:
        if tag == "a":
            href = attributes.get("href") or ""
            assert re.match(r"#|https?://|figures/|tables/", href), href
            if href.startswith("http"):
                assert "noopener" in (attributes["rel"] or "")


def test_headings_follow_each_other(read: Reader) -> None:
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_ids_are_unique_and_contents_lead_to_them(read: Reader) -> None:
    ids = [a["id"] for _, a in read.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    inner = [a["href"] for t, a in read.tags if t == "a" and (a["href"] or "").startswith("#")]
    assert {(href or "")[1:] for href in inner} <= set(ids)


def test_figures_are_described(read: Reader) -> None:
    plots = [a for _, a in read.tags if a.get("class") == "tlx-plot"]
    assert plots and all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in plots)


def test_captions_part_what_may_be_concluded(text: str) -> None:
    assert "You may conclude" in text and "You may not conclude" in text


def test_a_page_without_plots_carries_no_plotly() -> None:
    only = Section(id="text", title="t", blocks=[TokenText(tokens=["a"], values=[1])])
    assert len(render(Page(title="t", sections=(only,)))) < 60_000


def test_ids_given_twice_are_refused() -> None:
    with pytest.raises(InputError, match="'a' is given twice"):
        Page(title="t", sections=(Section(id="a", title=""), Section(id="a", title="")))


def test_an_interrupt_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_page(Page(title="old"), tmp_path / "index.html")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_page(Page(title="new"), path)
    assert "<title>old</title>" in path.read_text("utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["index.html"]


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(Page(title="t"), tmp_path)


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    section = Section(id="a", title=HOSTILE, blocks=[Heatmap(values=[[1]], title="\ud83d")])
    write_page(Page(title="\ud800", sections=(section,)), tmp_path / "index.html")


def test_long_conclusions_stand_below_one_another() -> None:
    def shown(said: str) -> str:
        figure = Figure(Heatmap(title="a", values=[[1.0]]), may=said, may_not="That.")
        return render(Page(title="P", sections=(Section(id="s", title="S", blocks=(figure,)),)))

    assert '<div class="conclusions">' in shown("Short.")
    assert '<div class="conclusions long">' in shown("Long. " * 100)
