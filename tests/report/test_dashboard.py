"""The dashboard of a latent: what it shows, escaped, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.demo import dashboard

from tl_ext.errors import InputError
from tl_ext.report import Dashboard, Dashboards, Page, Section, ShownContext, TokenWeights, render
from tl_ext.report.dashboard import BARS, digits, histogram
from tl_ext.report.marks import Marker

HOSTILE = "<img src=x onerror=alert(1)>\"'</title></svg>"


def test_text_from_outside_is_escaped_everywhere() -> None:
    mark = Dashboard(
        title=HOSTILE,
        note=HOSTILE,
        facts=[(HOSTILE, HOSTILE)],
        edges=[1, 2, 4],
        counts=[3, 1],
        markers=(Marker(value=2.0, label=HOSTILE),),
        weights=(TokenWeights(HOSTILE, [HOSTILE], [1.0]),),
        contexts=(ShownContext([HOSTILE, "b\u202e"], [1.0, None], 0, HOSTILE),),
        link="javascript:alert(1)",
    )
    page = render(Page(title="t", sections=(Section(id="a", title="a", blocks=[mark]),)))
    for written in (
        page,
        mark._repr_html_(),
        Dashboards(latents=[mark], groups=[HOSTILE])._repr_html_(),
    ):
        assert "<img" not in written and "javascript:" not in written
        assert "&lt;img src=x" in written
        assert "\u202e" not in written and "‹U+202E›" in written


def test_it_shows_numbers_texts_and_the_link() -> None:
    written = dashboard()._repr_html_()
    assert "https://www.neuronpedia.org/gpt2-small/7-res-jb/2392" in written
    assert written.count("<rect") == 3 and 'role="img"' in written
    assert 'title="3.20"' in written and "tlx-at" in written
    assert "<script" not in written


def test_only_the_first_of_several_is_open() -> None:
    written = Dashboards(latents=[dashboard()] * 3, groups=["a", "a", "b"])._repr_html_()
    assert written.count("<details") == 3 and written.count(" open>") == 1
    assert re.findall(r'tlx-group">(\w)<', written) == ["a", "b"]
    assert written.count("highest at <b><bdi>so</bdi></b>") == 3
    alone = Dashboards(latents=[dashboard()] * 3)._repr_html_()
    assert alone.count("<details") == 3 and 'class="tlx-group"' not in alone


def test_it_is_saved_as_a_page_of_its_own(tmp_path: Path) -> None:
    written = dashboard().save(tmp_path / "latent.html").read_text(encoding="utf-8")
    assert len(written) < 60_000 and "L7 #2392" in written
    with pytest.raises(InputError, match=r"\.html"):
        dashboard().save(tmp_path / "latent.png")


def test_pieces_of_a_character_are_shown_where_it_ends() -> None:
    mark = Dashboard(contexts=(ShownContext(["a", "", "我"], [0.0, 2.0, 1.0], 1),))
    written = mark._repr_html_()
    assert 'title="2.00, 1.00"' in written and "∅" not in written
    assert re.search(r'class="tlx-at"[^>]*>我<', written)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=192))
def test_bars_count_everything_once(counts: list[int]) -> None:
    mark = Dashboard(
        edges=[2 ** (0.125 * one - 10) for one in range(len(counts) + 1)], counts=counts
    )
    drawn = histogram(mark)
    if not sum(counts):
        assert drawn is None
        return
    assert drawn is not None and len(drawn["bars"]) <= BARS
    assert max(one.height for one in drawn["bars"]) == 1
    told = sum(int(one.told.rsplit(":", 1)[1].split()[0]) for one in drawn["bars"])
    assert told == sum(counts)
    for one in drawn["bars"]:
        assert 0 <= one.x <= 1 and one.x + one.width <= 1 + 1e-9
    assert all(0 <= one["x"] <= 1 for one in drawn["ticks"])


@pytest.mark.parametrize(
    ("value", "written"), [(7.8, "7.80"), (123.4, "123"), (0, "0"), (None, "–"), (1e-5, "1e-05")]
)
def test_numbers_have_three_digits(value: float | None, written: str) -> None:
    assert digits(value) == written


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ShownContext(["a"], [1.0], 1), "peak"),
        (lambda: ShownContext(["a"], [1.0, 2.0], 0), "tokens has 1"),
        (lambda: TokenWeights("x", ["a"], [None]), "undefined"),
        (lambda: Dashboard(edges=[1, 2], counts=[1, 2]), "one more than bins"),
        (lambda: Dashboard(edges=[0, 2], counts=[1]), "above 0"),
        (lambda: Dashboards(latents=[]), "at least one"),
        (lambda: Dashboards(latents=[dashboard()], groups=["a", "b"]), "groups has 2"),
        (lambda: dashboard().figure(), "no plotly figure"),
    ],
)
def test_what_cannot_be_shown_is_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


def test_it_says_what_it_is_in_a_line() -> None:
    one = dashboard()
    assert repr(one) == f"<Dashboard: {one.describe()}>" and len(repr(one)) < 400
