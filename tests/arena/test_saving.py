"""Files: whole or not at all, the same bytes each time, only where told."""

from __future__ import annotations

import io
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.arena.drawn import W3, W4, points

from tl_ext.arena import animate_features_in_2d, plot_features_in_2d
from tl_ext.arena.saving import _MOVING_DPI, pictures
from tl_ext.errors import InputError, OutputError

STARTS = {
    ".png": b"\x89PNG",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
    ".gif": b"GIF89a",
    ".html": b"<!doctype html>",
}


@pytest.mark.parametrize("ending", STARTS)
def test_each_kind_is_written_and_the_same_twice(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"still{ending}"
    figure = plot_features_in_2d(W3, colors=[0.1, 0.2, 0.3, 0.4], title="A title", save=path)
    first = path.read_bytes()
    assert first.startswith(STARTS[ending])
    assert figure.save(path) == path
    assert path.read_bytes() == first
    assert list(tmp_path.rglob("*.*")) == [path]


def test_names_are_taken_as_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plot_features_in_2d(W3, save="a.PNG")
    plot_features_in_2d(W3)
    assert os.listdir() == ["a.PNG"]


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_what_moves_is_not_written_as_a_still(ending: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can show one timestep.*\.gif, \.html.*W\[timestep\]"):
        animate_features_in_2d(W4, save=tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


def test_a_gif_has_every_timestep_at_its_speed(tmp_path: Path) -> None:
    animate_features_in_2d(W4, fps=10, save=tmp_path / "a.gif")
    image = Image.open(tmp_path / "a.gif")
    assert (image.n_frames, image.info["duration"], image.info["loop"]) == (5, 100, 0)
    frames = []
    for k in range(5):
        image.seek(k)
        frames.append(np.asarray(image.convert("RGB")))
        assert frames[-1][0, 0].tolist() == [255, 255, 255]
    assert all((a != b).any() for a, b in pairwise(frames))


def test_the_timestep_that_is_shown_stays(tmp_path: Path) -> None:
    figure = animate_features_in_2d(W4)
    figure.show_timestep(2)
    dpi, canvas = figure.get_dpi(), figure.canvas
    figure.save(tmp_path / "a.gif")
    figure.save(tmp_path / "a.html")
    assert (figure.timestep, figure.get_dpi(), figure.canvas) == (2, dpi, canvas)
    np.testing.assert_array_equal(points(figure.axes[0]), W4[2, 0].T)


def test_frames_are_what_a_still_of_the_timestep_is() -> None:
    titles = [[f"{i}{t}" for i in "abc"] for t in range(5)]
    options: dict[str, Any] = {
        "colors": [0.1, 0.5, 1.0, 2.0],
        "n_rows": 2,
        "limits": float(np.abs(W4).max()),
    }
    figure = animate_features_in_2d(W4, title=list("ABCDE"), titles=titles, **options)
    for timestep, frame in enumerate(pictures(figure)):
        still = plot_features_in_2d(
            W4[timestep], title="ABCDE"[timestep], titles=titles[timestep], **options
        )
        still.set_dpi(_MOVING_DPI)
        canvas: Any = still.canvas
        canvas.draw()
        alone = np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(frame), alone)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        animate_features_in_2d(W4, save=path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        plot_features_in_2d(W3, save=tmp_path / "file" / "a.png")


def test_a_notebook_shows_a_picture_and_a_player() -> None:
    still, moving = plot_features_in_2d(W3), animate_features_in_2d(W4)
    for figure in (still, moving):
        assert Image.open(io.BytesIO(figure._repr_png_())).format == "PNG"
    assert still._repr_html_() is None
    shown = moving._repr_html_()
    assert shown is not None and shown.startswith('<iframe srcdoc="&lt;!doctype html')
    # One element: nothing of the page breaks out of the attribute.
    assert shown.count('"') == shown.count('="') * 2


def test_the_title_of_a_page_is_text(tmp_path: Path) -> None:
    animate_features_in_2d(W4, title="</title><script>alert(1)</script>", save=tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and page.count("<script>") == 1


def test_settings_of_the_user_do_not_cut_the_file(tmp_path: Path) -> None:
    import matplotlib

    plain = plot_features_in_2d(W3)._repr_png_()
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.facecolor": "black"}):
        assert plot_features_in_2d(W3)._repr_png_() == plain
