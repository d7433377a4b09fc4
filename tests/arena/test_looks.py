"""How figures look: small pictures kept beside this file, without text, whose fonts differ by machine.

`python -m tests.arena.test_looks` draws them anew; look at them before they are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from PIL import Image

from tl_ext.arena import FeatureFigure, plot_features_in_2d

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 4.0  # of 255, root mean square; a line drawn elsewhere makes 15 and more


def polygons() -> np.ndarray:
    """Features as they lie in superposition: two, three, four and five of five represented."""
    out = np.zeros((4, 2, 5))
    for instance, n in zip(out, (2, 3, 4, 5), strict=True):
        angles = 2 * np.pi * np.arange(n) / n
        instance[:, :n] = np.cos(angles), np.sin(angles)
    return out


def importance() -> FeatureFigure:
    return plot_features_in_2d(polygons(), colors=0.9 ** np.arange(5)[None])


def named() -> FeatureFigure:
    return plot_features_in_2d(
        polygons()[:3], colors=["blue", "blue", "limegreen", "limegreen", "red"], n_rows=2
    )


def ragged() -> FeatureFigure:
    cloud = np.random.default_rng(0).normal(size=(2, 120))
    return plot_features_in_2d(
        [polygons()[3], cloud, np.zeros((2, 0))],
        colors=[["blue"], ["red"], ["k"]],
        limits="own",
        n_rows=3,
    )


FIGURES = {one.__name__: one for one in (importance, named, ragged)}


def write(figure: FeatureFigure, path: Path) -> Path:
    """The figure without its texts, small."""
    for axes in figure.axes:
        axes.set(xticklabels=[], yticklabels=[])
    figure.savefig(path, dpi=40, metadata={"Software": None})
    return path


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(name: str, tmp_path: Path) -> None:
    drawn = write(FIGURES[name](), tmp_path / f"{name}.png")
    complaint = compare_images(str(GOLDEN / drawn.name), str(drawn), TOLERANCE)
    assert complaint is None, complaint


def test_the_tolerance_tells_figures_apart(tmp_path: Path) -> None:
    turned = plot_features_in_2d(polygons()[:, ::-1], colors=0.9 ** np.arange(5)[None])
    drawn = write(turned, tmp_path / "turned.png")
    assert compare_images(str(GOLDEN / "importance.png"), str(drawn), TOLERANCE) is not None


def pixels(figure: FeatureFigure) -> np.ndarray:
    """The picture, `[row column rgb]`."""
    figure.canvas.draw()
    canvas: Any = figure.canvas
    return np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def at(figure: FeatureFigure, panel: int, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of a panel."""
    picture = pixels(figure)
    column, row = figure.axes[panel].transData.transform((x, y))
    return tuple(int(one) for one in picture[picture.shape[0] - 1 - round(row), round(column)])


def test_lines_run_from_the_origin_and_points_stand_at_their_ends() -> None:
    figure = plot_features_in_2d([[0.6, -1.0], [0.8, 0.0]], colors=["red", "blue"])
    assert at(figure, 0, 0.6, 0.8) == at(figure, 0, 0.3, 0.4) == (255, 0, 0)
    assert at(figure, 0, -1.0, 0.0) == at(figure, 0, -0.5, 0.0) == (0, 0, 255)
    assert at(figure, 0, 0.5, -0.5) == (255, 255, 255)


def test_a_point_at_the_very_edge_is_drawn_whole() -> None:
    figure = plot_features_in_2d([[1.0], [0.0]], colors="red", limits=1.0)
    assert at(figure, 0, 1.02, 0.0) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_texts_stay_on_the_figure_and_off_each_other() -> None:
    long = "a title of very many words that goes on and on " * 3
    figure = plot_features_in_2d(
        polygons(), title=long, titles=[long[:60], "x" * 60, "短" * 40, "two\nlines"], n_rows=2
    )
    figure.canvas.draw()
    renderer: Any = figure.canvas
    boxes = [
        text.get_window_extent(renderer.get_renderer())
        for text in [figure.texts[0], *(axes.title for axes in figure.axes)]
    ]
    width, height = figure.get_size_inches() * figure.dpi
    for k, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])


def test_dollars_that_are_no_mathematics_are_words() -> None:
    titles = ["costs $5 or $6", r"$\nonsense{$", r"$\lambda = 1$", "$"]
    figure = plot_features_in_2d(polygons(), titles=titles)
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == titles


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for stem, draw in FIGURES.items():
        write(draw(), GOLDEN / f"{stem}.png")
