"""What was wrong with the course's versions of the function, one test per defect."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from tests.arena.drawn import W3, W4, face_colors, points, segments

from tl_ext.arena import animate_features_in_2d, plot_features_in_2d
from tl_ext.errors import InputError


def test_markers_are_given_sequences() -> None:
    figure = animate_features_in_2d(W4)
    for timestep in range(5):
        figure.show_timestep(timestep)
        for axes, expected in zip(figure.axes, W4[timestep], strict=True):
            np.testing.assert_allclose(points(axes), expected.T)
            np.testing.assert_allclose(segments(axes)[:, 1], expected.T)
            assert not segments(axes)[:, 0].any()


def test_timesteps_move_whichever_function_is_called(tmp_path: Path) -> None:
    for draw in (plot_features_in_2d, animate_features_in_2d):
        figure = draw(W4, save=tmp_path / "moving.gif")
        assert (figure.n_timesteps, figure.timestep) == (5, 4)
        assert Image.open(tmp_path / "moving.gif").n_frames == 5


def test_numpy_is_drawn() -> None:
    assert len(plot_features_in_2d(W3).axes) == 3


def test_numpy_colours_are_read() -> None:
    importance = np.array([1, 0.7, 0.3, 0.0])
    figure = plot_features_in_2d(W3, colors=importance)
    assert len({tuple(one) for one in face_colors(figure.axes[0])}) == 4


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4)])
def test_importances_of_each_shape_that_is_in_use(shape: tuple[int, ...]) -> None:
    importance = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    figure = plot_features_in_2d(W3, colors=importance)
    for i, axes in enumerate(figure.axes[:3]):
        expected = np.broadcast_to(importance, (3, 4))[i]
        alone = plot_features_in_2d(W3[i], colors=expected)
        np.testing.assert_allclose(face_colors(axes), face_colors(alone.axes[0]))


def test_a_torch_importance_of_one_dimension() -> None:
    torch = pytest.importorskip("torch")
    figure = plot_features_in_2d(torch.tensor(W3), colors=0.9 ** torch.arange(4))
    plain = plot_features_in_2d(W3, colors=0.9 ** np.arange(4))
    np.testing.assert_allclose(face_colors(figure.axes[0]), face_colors(plain.axes[0]), atol=1e-6)


def test_a_list_of_names_per_instance_with_an_array() -> None:
    figure = plot_features_in_2d(W3, colors=[["blue"], ["red"], ["red", "blue", "C0", "0.5"]])
    assert np.array_equal(face_colors(figure.axes[0]), [to_rgba("blue")] * 4)
    assert np.array_equal(face_colors(figure.axes[2])[3], to_rgba("0.5"))


def test_ragged_instances_each_with_their_own_colours() -> None:
    ragged = [W3[0], W3[1][:, :2], np.ones((2, 1))]
    figure = plot_features_in_2d(ragged, colors=[["red"], ["red", "blue"], ["blue"]])
    assert [len(face_colors(axes)) for axes in figure.axes] == [4, 2, 1]
    assert np.array_equal(face_colors(figure.axes[1]), [to_rgba("red"), to_rgba("blue")])


@pytest.mark.parametrize(("n_rows", "rows"), [(2, (4, 3)), (3, (3, 2, 2)), (4, (2, 2, 2, 1))])
def test_rows_that_do_not_divide_the_instances(n_rows: int, rows: tuple[int, ...]) -> None:
    figure = plot_features_in_2d(np.ones((7, 2, 3)), n_rows=n_rows)
    assert figure.plan.grid.rows == rows
    assert len(figure.axes) == 7


def test_one_column() -> None:
    figure = plot_features_in_2d(W3, n_rows=3)
    lefts = {axes.get_position().x0 for axes in figure.axes}
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert len(lefts) == 1 and tops == sorted(tops, reverse=True)


def test_too_few_titles_are_an_error_that_names_the_shape() -> None:
    with pytest.raises(InputError, match=r"titles is a list of 2 for W of shape \[3, 2, 4\].*of 3"):
        plot_features_in_2d(W3, titles=["one", "two"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (3, 5, 4),
            r"\[3, 5, 4\] has 5 hidden dimensions where the plane has 2\. W is \[2 feature",
        ),
        ((3, 5, 2), r"\[3, 5, 2\].*The last axis is 2: swap the last two axes"),
        ((4,), r"\[4\] has 1 dimensions"),
        ((1, 1, 1, 2, 4), r"\[1, 1, 1, 2, 4\] has 5 dimensions"),
        ((0, 2, 4), r"\[0, 2, 4\] holds no instance"),
        ((0, 3, 2, 4), r"\[0, 3, 2, 4\] holds no instance"),
        ((2, 0, 2, 4), r"\[2, 0, 2, 4\] holds no instance"),
        ((0,), r"\[0\] holds no instance"),
    ],
)
def test_shapes_that_cannot_be_drawn(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plot_features_in_2d(np.zeros(shape))


def test_an_empty_list_holds_no_instance() -> None:
    with pytest.raises(InputError, match="holds no instance"):
        plot_features_in_2d([])


def test_no_features_are_an_empty_panel() -> None:
    figure = plot_features_in_2d(np.zeros((2, 2, 0)), colors="red", titles=["a", "b"])
    assert [len(points(axes)) for axes in figure.axes] == [0, 0]


def test_saving_gives_a_file_and_the_figure(tmp_path: Path) -> None:
    figure = plot_features_in_2d(W3, save=tmp_path / "still.png")
    assert Image.open(tmp_path / "still.png").format == "PNG"
    assert len(figure.axes) == 3


@pytest.mark.parametrize("limits", ["shared", "own"])
def test_no_vector_is_cut_off_at_any_time(limits: str) -> None:
    moving = W4.copy()
    moving[1, 2, 0, 3] = -40.0  # far out, for one timestep
    figure = animate_features_in_2d(moving, limits=limits)
    for i, axes in enumerate(figure.axes):
        assert max(np.abs(moving[:, i]).max(), 0) < axes.get_xlim()[1] == axes.get_ylim()[1]
        assert axes.get_xlim()[0] == -axes.get_xlim()[1]
    assert len({axes.get_xlim() for axes in figure.axes}) == (1 if limits == "shared" else 3)


def test_given_limits_that_would_cut_are_an_error() -> None:
    assert plot_features_in_2d([[1.5], [-1.5]], limits=1.5).axes[0].get_xlim() == (-1.5, 1.5)
    with pytest.raises(InputError, match=r"limits is 1.5, and vectors of .* reach 1.6"):
        plot_features_in_2d([[1.6], [0]], limits=1.5)


@pytest.mark.parametrize("limits", ["shared", "own"])
def test_all_zero_vectors_have_limits(limits: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        figure = plot_features_in_2d(np.zeros((2, 2, 3)), limits=limits)
    assert figure.axes[0].get_xlim() == (-1, 1)


def test_importance_above_one_is_scaled_and_the_scale_is_shown() -> None:
    figure = plot_features_in_2d(W3, colors=[0.0, 1.0, 2.0, 4.0], color_label="importance")
    bar = figure.axes[-1]
    assert bar.get_ylim() == (0, 4) and bar.get_ylabel() == "importance"
    assert len({tuple(one) for one in face_colors(figure.axes[0])}) == 4
    with pytest.raises(InputError, match=r"colors goes from 0 to 4, beyond color_range \(0, 1\)"):
        plot_features_in_2d(W3, colors=[0.0, 1.0, 2.0, 4.0], color_range=(0, 1))


def test_nothing_stays_open_and_nothing_is_opened() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('error', RuntimeWarning);"
        "from tl_ext.arena import plot_features_in_2d;"
        "figures = [plot_features_in_2d([[1], [2]]) for _ in range(30)];"
        "assert 'matplotlib.pyplot' not in sys.modules;"
        "assert 'torch' not in sys.modules and 'IPython' not in sys.modules;"
        "from matplotlib import pyplot; assert not pyplot.get_fignums()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_list_of_names_is_per_feature_where_timesteps_are_as_many() -> None:
    names = ["red", "green", "blue", "black"]
    figure = animate_features_in_2d(np.ones((4, 3, 2, 4)), colors=names)
    for timestep in range(4):
        figure.show_timestep(timestep)
        assert np.array_equal(face_colors(figure.axes[1]), [to_rgba(one) for one in names])
    with pytest.raises(InputError, match=r"colors of shape \[5\] do not fit .*5 timesteps"):
        animate_features_in_2d(W4, colors=["red"] * 5)


def test_an_animation_for_a_page_needs_no_ffmpeg_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    animate_features_in_2d(W4, save=tmp_path / "moving.html")
    page = (tmp_path / "moving.html").read_text(encoding="utf-8")
    frames = re.compile(r"[A-Za-z0-9+/=]{200,}")
    assert len(set(frames.findall(page))) == 5
    assert "//" not in frames.sub("", page) and "http" not in frames.sub("", page)
