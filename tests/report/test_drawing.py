"""Marks drawn: plotly accepts them, PNGs are whole, and both leave the process as it was."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.report.demo import HOSTILE, cosines, page, stems

from tl_ext.errors import OutputError
from tl_ext.report import (
    Annotation,
    Axis,
    Bars,
    Figure,
    Heatmap,
    Lines,
    Mark,
    Marker,
    Panels,
    Series,
    Stems,
    TokenText,
    labels,
    notebook,
    palette,
)
from tl_ext.report.html import link, script_json
from tl_ext.report.plotly_spec import safe, spec
from tl_ext.report.png import png_bytes

PNG = b"\x89PNG\r\n\x1a\n"


def demo_marks() -> list[Mark]:
    return [
        block.mark
        for section in page(layers=2, wide=10).sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]


EXTRA = [
    Panels(panels=[Heatmap(title=f"layer {i}", values=cosines(20, i)) for i in range(3)]),
    Panels(
        panels=[Bars(labels=["a", "b"], series={"x": [1, 2], "y": [2, None]}, title=HOSTILE)],
        share_y="all",
    ),
    Bars(
        labels=[HOSTILE, "b"],
        series=[Series("s", [0, 1], [1, -2], [0.5, -3], [1.5, -1])],
        orientation="horizontal",
        y="which",
    ),
    Lines(
        series=Series("s", [1, 2, 3, 4], [1, None, 2, 3], [0.5, None, 1, 2], [2, None, 3, 4]),
        x=Axis(title="strength", unit="multiples", scale="log"),
        y=Axis(title="share", limits=(0, 5)),
        markers=(Marker(value=2, label=HOSTILE),),
        annotations=(Annotation(x=2, y=1, text=HOSTILE),),
    ),
    Stems(series=Series("nothing active", [], []), length=64),
    Heatmap(values=[[math.nan]], rows=[HOSTILE], columns=["$\\frac$"], title="$x_1$ & $y$"),
    Heatmap(values=[[3.0, 900.0]], scale="sequential", value_name="count"),
    TokenText(tokens=["x"] * 60, values=[-1.0] * 60, limits=None, scale="diverging", title="t"),
]


@pytest.mark.parametrize("mark", [*demo_marks(), *EXTRA], ids=lambda mark: type(mark).__name__)
def test_every_mark_draws(mark: Mark) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if ".png" in mark.suffixes:
            assert png_bytes(mark).startswith(PNG)
        shown = mark._repr_html_()
    assert "<script>alert" not in shown and "<img src=x" not in shown
    if not isinstance(mark, TokenText) and ".png" in mark.suffixes:
        figure = mark.figure()  # plotly refuses what it does not know
        assert len(figure.data) > 0
        assert json.loads(figure.to_json())["layout"]["height"] > 100


def test_the_same_mark_gives_the_same_picture_and_html() -> None:
    first, second = stems(3, "a"), stems(3, "a")
    assert png_bytes(first) == png_bytes(second)
    assert first._repr_html_() == second._repr_html_()


def test_pyplot_and_its_settings_are_left_alone() -> None:
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    backend = matplotlib.get_backend()
    png_bytes(EXTRA[0])
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before and matplotlib.get_backend() == backend


def test_undefined_cells_are_empty_and_never_zero() -> None:
    drawn = spec(Heatmap(values=[[math.nan, 0.0]]))
    assert drawn.data[0]["z"] == [[None, 0.0]]
    assert (drawn.data[0]["zmin"], drawn.data[0]["zmax"]) == (-1.0, 1.0)
    assert drawn.layout["plot_bgcolor"] == palette.UNDEFINED
    assert palette.UNDEFINED not in palette.DIVERGING + palette.SEQUENTIAL


def test_only_active_latents_are_drawn_on_an_axis_of_all() -> None:
    drawn = spec(stems(1, "", names=("a", "b")))
    assert sum(len(trace["x"]) for trace in drawn.data if trace["mode"] == "lines") < 3 * 2 * 310
    assert drawn.layout["xaxis"]["range"][1] > 24_576


def test_a_mirrored_figure_says_true_values() -> None:
    both = [Series("a", [1, 2], [4, 1]), Series("b", [1], [3])]
    drawn = spec(Stems(series=both, length=9, arrangement="mirrored"))
    lower = drawn.data[2]
    assert lower["y"][0] == -3 and lower["customdata"][0] == 3
    assert not any(text.startswith("-") for text in drawn.layout["yaxis"]["ticktext"])


def test_labels_of_named_latents_do_not_cover_each_other() -> None:
    near = [Series("a", [100, 130, 160], [9, 8.9, 8.8]), Series("b", [110, 150], [9, 8.7])]
    mark = Stems(series=near, length=1000)
    span, up = labels.x_range(mark), labels.y_range(mark)
    assert span is not None and up is not None
    size, font = (640.0, 290.0), 11.0
    boxes = []
    for one in labels.named(mark, span, up, size=size, font=font):
        x = (one.index - span[0]) / (span[1] - span[0]) * size[0] + one.offset[0]
        y = (one.height - up[0]) / (up[1] - up[0]) * size[1] + one.offset[1]
        wide, high = len(str(one.index)) * font * 0.6, font
        boxes.append((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2))
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_series_differ_in_lightness_and_in_form() -> None:
    first, second = (palette.luminance(color) for color in palette.SERIES[:2])
    assert abs(first - second) > 0.2
    assert len(set(zip(palette.MATPLOTLIB_SYMBOLS, palette.OPEN_SYMBOLS, strict=True))) == 10
    assert len(set(palette.PLOTLY_SYMBOLS)) == 10
    lightness = [palette.luminance(color) for color in palette.SEQUENTIAL]
    assert lightness == sorted(lightness, reverse=True)


@pytest.mark.parametrize("colour", [*palette.SEQUENTIAL, *palette.DIVERGING])
def test_text_on_every_colour_can_be_read(colour: str) -> None:
    light, ink = palette.luminance(colour), palette.luminance(palette.text_on(colour))
    assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) > 3.6


def test_plotly_gets_no_html_and_no_template_from_text() -> None:
    assert safe("<b>%{x} & \u202e") == "&lt;b&gt;&#37;{x} &amp; ‹U+202E›"
    drawn = json.dumps(spec(Stems(series=Series(HOSTILE, [1], [1]), length=2, title="t")).data)
    assert "<script" not in drawn and "<img" not in drawn


def test_json_cannot_end_its_script() -> None:
    written = str(script_json({"a": HOSTILE}))
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written)["a"] == HOSTILE


@pytest.mark.parametrize(
    ("text", "safe_link"),
    [
        ("https://neuronpedia.org/gpt2-small/7-res-jb/2392", True),
        ("http://localhost:8000/a?b=1&c=2", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)//https://a.b", False),
        ("data:text/html,<script>", False),
        ("https://a.b/\"onclick='x'", False),
        ("https://a b", False),
        ("https://", False),
        ("see https://a.b", False),
        (7, False),
    ],
)
def test_only_plain_web_addresses_are_links(text: Any, safe_link: bool) -> None:
    assert (link(text) is not None) is safe_link


def test_a_character_no_font_has_is_said_and_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = TokenText(tokens=["a"], values=[0.5])
        rare = TokenText(tokens=["\U000e0041\u5feb\U0001f9ff"], values=[0.5])
        assert png_bytes(plain) != png_bytes(rare)


def test_saving_is_whole_or_not_at_all(tmp_path: Path) -> None:
    mark = Heatmap(values=[[1.0]])
    assert mark.save(tmp_path / "new" / "a.png").read_bytes().startswith(PNG)
    assert mark.save(tmp_path / "a.html").read_text("utf-8").startswith("<!doctype html>")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        mark.save(tmp_path / "file" / "a.png")
    assert not list(tmp_path.rglob("*.part"))


def test_a_notebook_gets_plotly_once() -> None:
    assert "<script>" in notebook()._repr_html_()
    shown = Heatmap(values=[[1.0]])._repr_html_()
    assert len(shown) < 200_000 and "window.Plotly" in shown and "data:image/png" in shown


def test_log_axes_are_marked_at_powers() -> None:
    assert labels.log_ticks(0.87, 9.2) == [1, 2, 4, 8]
    assert labels.log_ticks(1e-4, 2e3) == [10.0**power for power in range(-4, 4)]
    assert len(labels.log_ticks(1e-30, 1e30)) <= 8


def test_ten_series_look_different() -> None:
    looks = list(zip(palette.SERIES, palette.PLOTLY_SYMBOLS, palette.PLOTLY_DASHES, strict=True))
    assert len(set(palette.SERIES)) == len(looks) == 10
    lengths = {
        len(each)
        for each in (
            palette.SERIES_TEXT,
            palette.MATPLOTLIB_SYMBOLS,
            palette.OPEN_SYMBOLS,
            palette.MATPLOTLIB_DASHES,
            palette.PLOTLY_PATTERNS,
            palette.MATPLOTLIB_HATCHES,
        )
    }
    assert lengths == {10}
