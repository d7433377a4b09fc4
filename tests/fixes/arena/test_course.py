"""Our function in the place of the course's, under each of its signatures; and the course's again."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image
from tests.arena.drawn import face_colors

from tl_ext.arena import FeatureFigure
from tl_ext.errors import FixError, InputError
from tl_ext.fixes import arena

SIGNATURES = {
    "january": "values, colors=None, title=None, subplot_titles=None, save=None, colab=False",
    "august": "W, colors=None, title=None, subplot_titles=None, save=None, colab=False, "
    "n_rows=None, adjustable_limits=False, ani_kwargs={}, ani_save_kwargs={}",
    "september": "W, colors=None, title=None, subplot_titles=None, "
    "allow_different_limits_across_subplots=False, n_rows=None",
}
W = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0)) / 5
LOG = torch.stack([W, W * 1.5, W * 2])


@pytest.fixture(params=SIGNATURES)
def utils(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[types.ModuleType]:
    yield from imported(tmp_path, SIGNATURES[request.param])


@pytest.fixture
def august(tmp_path: Path) -> Iterator[types.ModuleType]:
    yield from imported(tmp_path, SIGNATURES["august"])


def imported(folder: Path, signature: str) -> Iterator[types.ModuleType]:
    """A module of the course, as a user imports it."""
    (folder / "part9_utils.py").write_text(
        f"def plot_features_in_2d({signature}):\n    return 'the course drew'\n"
    )
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("part9_utils")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("part9_utils", None)


def drawn(utils: Any, *args: Any, **named: Any) -> FeatureFigure:
    with arena.in_place_of(utils):
        figure = utils.plot_features_in_2d(*args, **named)
    assert isinstance(figure, FeatureFigure)
    return figure


def test_put_in_counted_and_taken_out(utils: Any) -> None:
    original = utils.plot_features_in_2d
    assert arena.put_into(utils).applied == 1
    assert arena.put_into(utils).applied == 2
    assert isinstance(utils.plot_features_in_2d(W), FeatureFigure)
    assert utils.plot_features_in_2d.__wrapped__ is original
    assert arena.take_out_of(utils).applied == 1
    assert arena.take_out_of(utils).applied == 0
    assert utils.plot_features_in_2d is original
    with pytest.raises(FixError, match="is not applied"):
        arena.take_out_of(utils)


def test_a_value_that_somebody_else_put_there_stops_it(august: Any) -> None:
    original = august.plot_features_in_2d
    arena.put_into(august)
    ours, august.plot_features_in_2d = august.plot_features_in_2d, lambda W: None
    for change in (arena.put_into, arena.take_out_of):
        with pytest.raises(FixError, match="neither upstream nor the fixes"):
            change(august)
    august.plot_features_in_2d = ours
    arena.take_out_of(august)
    assert august.plot_features_in_2d is original


def test_who_holds_the_course_s_function_is_told(
    august: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    solutions: Any = types.ModuleType("part9_solutions")
    solutions.plot_features_in_2d = august.plot_features_in_2d
    monkeypatch.setitem(sys.modules, "part9_solutions", solutions)
    with arena.in_place_of(august) as status:
        assert [one.partition(":")[0] for one in status.stray] == ["part9_solutions"]
        assert status.targets == ("part9_utils:plot_features_in_2d",)


def test_what_is_no_module_of_the_course_is_told(tmp_path: Path) -> None:
    with pytest.raises(FixError, match="is not the one that is imported"):
        arena.put_into(types.ModuleType("nowhere"))
    with pytest.raises(FixError, match="the course's module is expected"):
        arena.put_into("part9_utils")  # type: ignore[arg-type]
    for module in imported(tmp_path, "W, colours"):
        original = module.plot_features_in_2d
        with pytest.raises(FixError, match="no version of the course"):
            arena.put_into(module)
        assert module.plot_features_in_2d is original
    assert sys.modules["json"]
    with pytest.raises(FixError, match="does not exist"):
        arena.put_into(sys.modules["json"])


def test_it_comes_back_after_an_error(august: Any) -> None:
    original = august.plot_features_in_2d
    with pytest.raises(InputError), arena.in_place_of(august):
        august.plot_features_in_2d(torch.ones(3, 4, 5))
    assert august.plot_features_in_2d is original


@pytest.mark.parametrize("name", ["W", "values"])
def test_calls_of_every_version_are_understood(utils: Any, name: str) -> None:
    titles = [f"1 - S = {s:.3f}" for s in (1, 0.3, 0.1, 0.05)]
    figure = drawn(
        utils,
        **{name: W.clone().requires_grad_()},
        colors=0.9 ** torch.arange(5)[None],
        title="Superposition",
        subplot_titles=titles,
        n_rows=2,
    )
    assert [axes.get_title() for axes in figure.axes[:4]] == titles
    assert figure.plan.grid.rows == (2, 2)
    assert figure.plan.reaches == (1.5,) * 4


def test_arguments_by_place_follow_the_module_s_signature(utils: Any) -> None:
    figure = drawn(utils, W, ["red"] * 5, "A title", ["a", "b", "c", "d"])
    assert figure.texts[0].get_text() == "A title" and figure.axes[3].get_title() == "d"
    assert np.array_equal(face_colors(figure.axes[0])[0], to_rgba("red"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(), "'W' is missing"),
        (lambda f: f(W, W=W), "'W' was given twice"),
        (lambda f: f(W, colour="red"), "'colour' is no argument"),
        (lambda f: f(*[W] * 20), "takes 10 arguments; 20"),
    ],
)
def test_calls_that_no_version_takes(august: Any, call: Callable[[Any], Any], message: str) -> None:
    with arena.in_place_of(august), pytest.raises(TypeError, match=message):
        call(august.plot_features_in_2d)


def test_the_limits_are_the_course_s_and_cut_nothing(august: Any) -> None:
    assert drawn(august, W * 0.1).plan.reaches == (1.5,) * 4
    assert min(drawn(august, W * 50).plan.reaches) > float((W * 50).abs().max())
    for name in ("adjustable_limits", "allow_different_limits_across_subplots"):
        assert len(set(drawn(august, W, **{name: True}).plan.reaches)) == 4


def test_ragged_tensors_as_in_double_descent(utils: Any) -> None:
    sizes = (3, 5, 8)
    features, data = [torch.rand(2, 9) for _ in sizes], [torch.rand(2, n) for n in sizes]
    figure = drawn(
        utils,
        features + data,
        colors=[["blue"] for _ in sizes] + [["red"] for _ in sizes],
        title="Double Descent & Superposition (num features = 9)",
        subplot_titles=[str(n) for n in sizes] * 2,
        allow_different_limits_across_subplots=True,
        n_rows=2,
    )
    assert figure.plan.grid.rows == (3, 3)
    assert [len(face_colors(axes)) for axes in figure.axes] == [9, 9, 9, *sizes]


def test_a_log_of_training(utils: Any, tmp_path: Path) -> None:
    dead = [["red" if n == i else "black" for n in range(5)] for i in range(4)]
    figure = drawn(
        utils,
        LOG,
        colors=[None, dead, dead],
        title=[f"Step {n}" for n in range(3)],
        save=str(tmp_path / "training.gif"),
    )
    assert Image.open(tmp_path / "training.gif").n_frames == 3
    assert (figure.n_timesteps, figure.plan.fps) == (3, 20)
    assert np.array_equal(face_colors(figure.axes[2])[2], to_rgba("red"))
    figure.show_timestep(0)
    assert len({tuple(one) for one in face_colors(figure.axes[2])}) == 1


def test_colours_of_half_the_instances_hold_for_the_other_half(august: Any) -> None:
    both = torch.cat([LOG, LOG], dim=1)  # encoder and decoder
    dead = [["red", *["black"] * 4]] * 4
    figure = drawn(august, both, colors=[None, dead, dead], n_rows=2)
    assert len(figure.axes) == 8
    for axes in figure.axes:
        assert np.array_equal(face_colors(axes)[0], to_rgba("red"))
    assert np.array_equal(
        face_colors(drawn(august, both[0], colors=dead).axes[7])[0], to_rgba("red")
    )


def test_a_flat_list_of_names_is_per_timestep_only_where_it_cannot_be_per_feature(
    august: Any,
) -> None:
    figure = drawn(august, LOG, colors=["red", "green", "blue"])
    assert np.array_equal(face_colors(figure.axes[0]), [to_rgba("blue")] * 5)
    square = LOG[..., :3]  # three timesteps, three features
    figure = drawn(august, square, colors=["red", "green", "blue"])
    assert np.array_equal(face_colors(figure.axes[0])[0], to_rgba("red"))


def test_the_speed_of_an_animation(august: Any) -> None:
    assert drawn(august, LOG, ani_kwargs={"interval": 200}).plan.fps == 5
    assert drawn(august, LOG, ani_save_kwargs={"fps": 25, "writer": "pillow"}).plan.fps == 25
    assert drawn(august, LOG, ani_kwargs={"interval": 1, "repeat": False}).plan.fps == 50
    with (
        arena.in_place_of(august),
        pytest.raises(InputError, match="hold bitrate; understood are interval and fps"),
    ):
        august.plot_features_in_2d(LOG, ani_save_kwargs={"bitrate": 1})


def test_a_notebook_is_shown_the_figure(august: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    display = types.SimpleNamespace(display=shown.append)
    ipython = types.SimpleNamespace(
        get_ipython=lambda: "a shell", display=display, version_info=(9, 0)
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with arena.in_place_of(august):
        assert august.plot_features_in_2d(W, colab=True) is None
    assert isinstance(shown[0], FeatureFigure)
