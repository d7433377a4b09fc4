"""Figures as files: PNG, SVG, PDF, GIF, and HTML that asks the network for nothing."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tl_ext.errors import InputError
from tl_ext.files import write_whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from tl_ext.arena.drawing import FeatureFigure

STILL = (".png", ".svg", ".pdf")
MOVING = (".gif", ".html")
_STILL_DPI = 200
_MOVING_DPI = 110


def check_ending(path: Path, *, moving: bool) -> None:
    """See that a file can show what is to be written.

    Args:
        path: The file.
        moving: Whether it is an animation.

    Raises:
        InputError: Its ending is not known, or is one of a still picture.
    """
    endings = MOVING if moving else (*STILL, *MOVING)
    ending = path.suffix.lower()
    if ending in endings:
        return
    known = ", ".join(endings)
    if ending in STILL:
        raise InputError(
            f"{path.name} can show one timestep. For the animation give a file that ends in {known}; "
            "for one timestep draw W[timestep]."
        )
    raise InputError(f"{path.name} ends in {ending or 'nothing'}; expected is one of {known}.")


def save(figure: FeatureFigure, path: Path) -> Path:
    """Write a figure by its file's ending; see `FeatureFigure.save`."""
    check_ending(path, moving=figure.plan.features.moving)
    ending = path.suffix.lower()
    if ending == ".gif":
        return write_whole(path, gif(figure))
    if ending == ".html":
        return write_whole(path, page(figure).encode("utf-8"))
    return write_whole(path, still(figure, ending[1:]))


def still(figure: FeatureFigure, kind: str) -> bytes:
    """The timestep that is shown, as the content of a file.

    Args:
        figure: The figure.
        kind: `"png"`, `"svg"` or `"pdf"`.

    Returns:
        The file; the same figure gives the same bytes under one version of matplotlib.
    """
    undated: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    out = BytesIO()
    # What a user has set for savefig does not cut these.
    with matplotlib.rc_context({"svg.hashsalt": "tl_ext", "savefig.bbox": None}):
        figure.savefig(out, format=kind, dpi=_STILL_DPI, facecolor="white", metadata=undated[kind])
    return out.getvalue()


def gif(figure: FeatureFigure) -> bytes:
    """All timesteps as an animated GIF that repeats.

    Args:
        figure: The figure.

    Returns:
        The content of the file.
    """
    out = BytesIO()
    first, *others = (image.quantize(255) for image in pictures(figure))
    first.save(
        out,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 / figure.plan.fps),
        loop=0,
        disposal=1,
    )
    return out.getvalue()


def pictures(figure: FeatureFigure) -> Iterator[Image.Image]:
    """Each timestep as a picture.

    Args:
        figure: The figure, which shows what it showed again afterwards.

    Yields:
        Pictures of one size.
    """
    canvas, dpi, shown = figure.canvas, figure.get_dpi(), figure.timestep
    try:
        figure.set_dpi(_MOVING_DPI)
        agg, moving = FigureCanvasAgg(figure), figure.moving_artists()
        with _hidden(moving):
            agg.draw()
        # Most of the time goes into axes and ticks, which stay.
        background = agg.copy_from_bbox(figure.bbox)
        for timestep in range(figure.plan.features.n_timesteps):
            figure.show_timestep(timestep)
            agg.restore_region(background)
            for artist in moving:
                figure.draw_artist(artist)
            yield Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB")
    finally:
        figure.show_timestep(shown)
        figure.set_dpi(dpi)
        figure.set_canvas(canvas)


@contextmanager
def _hidden(artists: Sequence[Artist]) -> Iterator[None]:
    """Draw without some artists."""
    for artist in artists:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in artists:
            artist.set_visible(True)


def page(figure: FeatureFigure) -> str:
    """A whole HTML page: the picture, or a player with all timesteps in it.

    Args:
        figure: The figure.

    Returns:
        The page.
    """
    width, _ = figure.get_size_inches()
    frames = []
    for image in pictures(figure):
        out = BytesIO()
        image.quantize(255).save(out, format="PNG", optimize=True)
        frames.append(base64.b64encode(out.getvalue()).decode("ascii"))
    title = next(filter(None, figure.plan.title), "Features in two dimensions")
    return _PAGE.substitute(
        title=html.escape(title),
        width=math.ceil(96 * width),
        frames=",\n".join(f'"{frame}"' for frame in frames),
        delay=round(1000 / figure.plan.fps),
        first=frames[0],
        controls="" if len(frames) > 1 else "hidden",
    )


def in_a_frame(figure: FeatureFigure) -> str:
    """The page within another one, such as a notebook, of whose styles and scripts it knows nothing.

    Args:
        figure: The figure.

    Returns:
        An `iframe` element.
    """
    width, height = (math.ceil(96 * inches) for inches in figure.get_size_inches())
    return (
        f'<iframe srcdoc="{html.escape(page(figure))}" width="{width + 32}" height="{height + 80}" '
        'style="border: 0; max-width: 100%"></iframe>'
    )


_PAGE = Template(
    """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
  body { margin: 16px; background: white; color: #1f2430; font: 13px system-ui, sans-serif; }
  figure { margin: 0 auto; max-width: ${width}px; }
  img { width: 100%; display: block; }
  #controls { display: flex; gap: 10px; align-items: center; padding: 6px 12px; }
  #controls[hidden] { display: none; }
  #slider { flex: 1; accent-color: #1f2430; }
  button {
    width: 34px; height: 28px; border: 1px solid #c9ced6; border-radius: 6px; background: white;
    color: inherit; cursor: pointer;
  }
  output { min-width: 6em; text-align: right; font-variant-numeric: tabular-nums; color: #6b7280; }
</style>
<figure>
  <img id="picture" alt="$title" src="data:image/png;base64,$first">
  <div id="controls" $controls>
    <button id="play" aria-label="Play">&#9654;</button>
    <input id="slider" type="range" min="0" value="0" step="1" aria-label="Timestep">
    <output id="place" for="slider"></output>
  </div>
</figure>
<script>
  const frames = [
$frames
  ];
  const [picture, slider, place, play] =
    ["picture", "slider", "place", "play"].map((id) => document.getElementById(id));
  let timer = null;
  slider.max = frames.length - 1;

  function show(timestep) {
    slider.value = timestep;
    picture.src = "data:image/png;base64," + frames[timestep];
    place.textContent = timestep + 1 + " / " + frames.length;
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.innerHTML = "&#9654;";
    play.setAttribute("aria-label", "Play");
  }
  function start() {
    if (+slider.value === frames.length - 1) show(0);
    timer = setInterval(() => {
      if (+slider.value === frames.length - 1) stop();
      else show(+slider.value + 1);
    }, $delay);
    play.innerHTML = "&#10074;&#10074;";
    play.setAttribute("aria-label", "Pause");
  }
  play.onclick = () => (timer === null ? start() : stop());
  slider.oninput = () => { stop(); show(+slider.value); };
  show(0);
  if (frames.length > 1) start();
</script>
</html>
"""
)
