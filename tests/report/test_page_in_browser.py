"""The page in a real browser: drawn, silent, asking for nothing, fitting a narrow window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser import Browser, open_browser
from tests.report.demo import page, stems

from tl_ext.report import Panels, notebook, write_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(page(layers=4, wide=20), tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture(scope="module")
def opened(browser: Browser, path: Path) -> Browser:
    browser.open(path)
    return browser


def test_it_draws_all_and_complains_of_nothing(opened: Browser, path: Path) -> None:
    assert opened.complaints() == []
    assert opened.requests() == [path.resolve().as_uri()]
    assert opened.undrawn() == []
    assert opened.run("return document.querySelectorAll('.tlx-plot').length") >= 15
    assert opened.overflow() == []


def test_text_from_outside_ran_nothing(opened: Browser) -> None:
    assert opened.run("return document.querySelectorAll('main img').length") == 0
    assert "<script>alert('x')</script>" in opened.run("return document.body.innerText")


def test_the_contents_lead_to_the_sections(opened: Browser) -> None:
    hrefs = opened.run(
        "return [...document.querySelectorAll('.contents a')].map(a => a.getAttribute('href'))"
    )
    assert len(hrefs) == 5
    for href in hrefs:
        opened.run("document.documentElement.style.scrollBehavior = 'auto'")
        opened.run("document.querySelector(`.contents a[href='${arguments[0]}']`).click()", href)
        top, bottom, end = opened.run(
            "var box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "var root = document.documentElement;"
            "return [box.top, box.bottom, root.scrollHeight - root.clientHeight - root.scrollTop]",
            href,
        )
        assert -5 <= top <= 60 or (end <= 1 and bottom >= 0), href


def test_a_table_is_sorted_by_its_heads(opened: Browser) -> None:
    script = """
      var table = document.querySelector('table[data-tlx-sort]');
      if (arguments[0]) { table.querySelectorAll('th button')[2].click(); }
      return [...table.tBodies[0].rows].map(row => Number(row.cells[2].dataset.key))"""
    values = opened.run(script, False)
    assert opened.run(script, True) == sorted(values, reverse=True)
    assert opened.run(script, True) == sorted(values)


def test_a_figure_answers_the_pointer_with_text(opened: Browser) -> None:
    said = opened.run(
        """var box = document.getElementById('figure-1-plot-0');
        Plotly.Fx.hover(box, [{curveNumber: 1, pointNumber: 0}]);
        return box.querySelector('.hoverlayer').textContent"""
    )
    assert "latent" in said and "activation" in said and "%{" not in said


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_window_fits(opened: Browser, width: int) -> None:
    try:
        opened.resize(width, 740, touch=True)
        assert opened.overflow() == []
        assert opened.undrawn() == []
    finally:
        opened.resize(1280, 900)


def test_it_opens_in_a_narrow_window(browser: Browser, path: Path) -> None:
    browser.open(path, width=360, height=740)
    assert browser.complaints() == []
    assert browser.overflow() == []
    assert browser.undrawn() == []


@pytest.mark.parametrize("live", [False, True])
def test_a_notebook_shows_a_picture_or_the_figure(
    browser: Browser, tmp_path: Path, live: bool
) -> None:
    marks = [stems(1, "one"), Panels(panels=[stems(i, f"layer {i}") for i in range(2)])]
    shown = [notebook()._repr_html_()] if live else []
    shown += [mark._repr_html_() for mark in [*marks, marks[0]]]
    start = '<!doctype html><html data-tlx-ready="yes"><meta charset="utf-8">'
    (tmp_path / "notebook.html").write_text(start + "".join(shown), encoding="utf-8")
    browser.open(tmp_path / "notebook.html")
    seen = "return [...document.querySelectorAll(arguments[0])].filter(x => x.offsetWidth).length"
    assert browser.complaints() == []
    assert browser.run(seen, ".tlx-picture") == (0 if live else 3)
    assert browser.run(seen, ".tlx-plot[data-tlx-drawn]") == (4 if live else 0)
