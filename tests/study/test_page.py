"""The study's page as a reader meets it, in a real browser, with hostile text in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.browser import open_browser

from tl_ext.concepts.concept import Concept, Example
from tl_ext.study.run import run_study
from tl_ext.study.session import open_session

HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def page(
    checkpoint: Path,
    dictionaries: Path,
    background: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A study of one concept in two languages, whose name is an attack."""
    concepts = [
        Concept(
            f"happy {HOSTILE}",
            language,
            tuple(Example(f"{frame} {word}.", word) for frame in frames),
            tuple(Example(f"{frame} {control}.", control) for frame in frames),
        )
        for language, word, control, frames in (
            ("en", "happy", "tired", ("I am", "He says he is", "Today we are so")),
            ("fr", "heureux", "fatigué", ("Je suis", "Il dit qu'il est", "On est si")),
        )
    ]
    session = open_session(
        model=checkpoint,
        dictionaries=[dictionaries],
        concepts=concepts,
        background=[*background, HOSTILE],
        progress=False,
    )
    return run_study(session, tmp_path_factory.mktemp("page")).page


@pytest.mark.browser
def test_figures_are_drawn_without_complaint_or_request_wide_and_narrow(page: Path) -> None:
    with open_browser() as browser:
        browser.open(page)
        assert browser.complaints() == []
        assert browser.requests() == [page.resolve().as_uri()]
        assert browser.undrawn() == []
        assert browser.run("return document.querySelectorAll('.tlx-plot').length") > 10
        assert browser.overflow() == []
        assert browser.run("return document.title") != "taken"
        browser.resize(360, 740, touch=True)
        assert browser.overflow() == []
        assert browser.complaints() == []


def test_every_figure_says_what_it_shows_and_text_is_escaped(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert HOSTILE not in written
    assert "&lt;script&gt;" in written
    assert "You may not conclude" in written or "may not" in written
