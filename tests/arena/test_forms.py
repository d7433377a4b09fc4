"""Every form of W, colours, titles and rows that is in use is read as what it says, or refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from tests.arena.drawn import face_colors, points

from tl_ext.arena import FeatureFigure, animate_features_in_2d, plot_features_in_2d
from tl_ext.errors import InputError

NAMES = ("red", "C3", "#12ab34", "k", "0.25", "limegreen", (0.1, 0.2, 0.3), (1, 0, 0, 0.5))
W3 = np.random.default_rng(0).normal(size=(3, 2, 5))


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any], list[Any]]:
    """`W`, arguments, and the colour each feature must have, by timestep, instance and feature."""
    t, i, n = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(0, 5))
    scale = draw(st.sampled_from([0.0, 1e-30, 1.0, 1e6]))
    W = scale * np.random.default_rng(draw(st.integers(0, 9))).normal(size=(t, i, 2, n))
    name = st.sampled_from(NAMES)

    def lists(*sizes: int) -> st.SearchStrategy[Any]:
        inner = name if len(sizes) == 1 else lists(*sizes[1:])
        return st.lists(inner, min_size=sizes[0], max_size=sizes[0])

    sizes = draw(
        st.sampled_from([(), (n,), (1, n), (i, n), (i, 1), (t, i, n), (t, 1, n), (t, i, 1)])
    )
    colors = draw(lists(*sizes) if sizes else name)
    full = np.empty((1,) * (3 - len(sizes)) + sizes, dtype=object)
    for place in np.ndindex(full.shape):
        found = colors
        for index in place[3 - len(sizes) :]:
            found = found[index]
        full[place] = to_rgba(found)
    expected = np.broadcast_to(full, (t, i, n)).tolist()
    text = st.text("ab $\\_^{}é语\n", max_size=40)
    options = {
        "colors": colors,
        "title": draw(st.none() | text | st.lists(text, min_size=t, max_size=t)),
        "titles": draw(st.none() | st.lists(text, min_size=i, max_size=i)),
        "n_rows": draw(st.none() | st.integers(1, i)),
        "limits": draw(st.sampled_from(["shared", "own", float(np.abs(W).max(initial=0.5))])),
    }
    return W, options, expected


@given(pictures())
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_what_is_drawn_is_what_was_given(drawn: Any) -> None:
    W, options, expected = drawn
    try:
        figure = animate_features_in_2d(W, **options)
    except InputError as error:
        # Where axes are as long as others, the same lists can mean several things.
        assume("can be read in several ways" not in str(error))
        raise
    for timestep in range(len(W)):
        figure.show_timestep(timestep)
        assert len(figure.axes) == W.shape[1]
        for axes, vectors, colors in zip(figure.axes, W[timestep], expected[timestep], strict=True):
            np.testing.assert_array_equal(points(axes), vectors.T)
            np.testing.assert_array_equal(face_colors(axes), np.array(colors).reshape(-1, 4))
            assert np.abs(vectors).max(initial=0) <= axes.get_xlim()[1]
    figure.canvas.draw()  # titles with dollars and backslashes are set, too
    inside(figure)


def inside(figure: FeatureFigure) -> None:
    """No two panels overlap and none leaves the figure."""
    boxes = [axes.get_position() for axes in figure.axes]
    for k, box in enumerate(boxes):
        assert 0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.data())
def test_numbers_are_importances_whatever_their_shape(
    t: int, i: int, n: int, seed: int, data: st.DataObject
) -> None:
    shape = data.draw(st.sampled_from([(n,), (1, n), (i, n), (t, i, n), (1, i, n)]))
    # Four numbers per feature, or as many features as instances, could be colours.
    assume(len({t, i, n}) == 3 or t == i == n == 1 or len(shape) == 1)
    assume(not (len(shape) > 1 and n in (3, 4)))
    numbers = np.random.default_rng(seed).uniform(-1, 3, size=shape)
    figure = animate_features_in_2d(np.ones((t, i, 2, n)), colors=numbers)
    low, high = figure.axes[-1].get_ylim()
    assert (low, high) == (min(0, numbers.min()), max(1, numbers.max()))
    import matplotlib

    expected = matplotlib.colormaps["viridis"](
        (np.broadcast_to(numbers, (t, i, n)) - low) / (high - low)
    )
    for timestep in range(t):
        figure.show_timestep(timestep)
        for k in range(i):
            found = face_colors(figure.axes[k])
            np.testing.assert_allclose(found, expected[timestep, k], atol=0.02)


@given(st.integers(1, 30), st.integers(1, 30))
def test_rows_hold_every_instance_and_differ_by_one_at_most(i: int, n_rows: int) -> None:
    from tl_ext.arena.layout import grid

    if n_rows > i:
        with pytest.raises(InputError, match=f"from 1 to {i}"):
            grid(i, n_rows)
    else:
        rows = grid(i, n_rows).rows
        assert (len(rows), sum(rows)) == (n_rows, i)
        assert max(rows) - min(rows) <= 1 and list(rows) == sorted(rows, reverse=True)
    assert max(grid(i, None).rows) <= 8


@given(st.floats(1e-270, 1e270))
def test_ticks_are_round_and_within_reach(reach: float) -> None:
    from tl_ext.arena.layout import ticks

    low, middle, high = ticks(reach)
    assert (low, middle) == (-high, 0)
    assert 0.3 * reach < high < 0.94 * reach
    assert f"{high:.0e}"[0] in "125"
    assert math.isclose(high, float(f"{high:.0e}"))


@pytest.mark.parametrize("n_rows", [0, -1, 4, 1.5, True, "2"])
def test_impossible_rows(n_rows: Any) -> None:
    with pytest.raises(InputError, match="a whole number from 1 to 3"):
        plot_features_in_2d(W3, n_rows=n_rows)


@pytest.mark.parametrize(
    "W",
    [
        W3.tolist(),
        list(W3),
        tuple(W3),
        [one.tolist() for one in W3],
        W3.astype(np.float16).astype(np.float64),
    ],
)
def test_lists_and_arrays_of_three_dimensions_are_the_same(W: Any) -> None:
    assert len(plot_features_in_2d(W).axes) == 3
    assert plot_features_in_2d(W).n_timesteps is None


def test_lists_of_timesteps() -> None:
    for W in ([W3, W3], [list(W3), list(W3)], [[W3[0], np.ones((2, 1))]] * 2):
        assert animate_features_in_2d(W).n_timesteps == 2


@pytest.mark.parametrize(
    ("W", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 3, 4))], r"list of \[2, 3\], \[2, 3, 4\] is none"),
        ([np.ones((2, 3)), np.ones((3, 2))], r"has 3 hidden dimensions.*swap the last two"),
        ([[np.ones((2, 3))], [np.ones((2, 4))]], "keeps its features over time"),
        ([[np.ones((2, 3))], [np.ones((2, 3))] * 2], "keeps its features over time"),
        ("abc", "'abc', of type str"),
        ([["a"]], "'a', of type str"),
        (None, "None, of type NoneType"),
        (np.array(["a"]), "dtype <U1; real numbers"),
        (np.ones((2, 3)) * 1j, "complex128; real numbers"),
        ([[1, np.nan], [0, 1]], "not finite, 1 of 2 in one instance"),
        ([[1, np.inf], [0, np.nan]], "not finite, 1 of 2"),
        ([[1e300], [0]], "too far to be drawn"),
    ],
)
def test_what_is_no_W_is_told(W: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plot_features_in_2d(W)


@pytest.mark.parametrize(
    ("colors", "message"),
    [
        (["red", "blue"], r"shape \[2\] do not fit W of shape \[3, 2, 5\] \(3 instances of 5 feat"),
        ("bluee", "'bluee', which is no colour of matplotlib. Nearest: blue"),
        ([["red"]] * 2, r"shape \[2, 1\] do not fit"),
        (
            np.zeros((2, 5)),
            r"shape \[2, 5\] do not fit .* numbers of shape \[5\] or \[1, 5\] or \[3, 5\]",
        ),
        (np.zeros(4), r"shape \[4\] do not fit"),
        ([0.1, 0.2, 0.3], r"shape \[3\] do not fit"),
        (["red", 0.5, "blue", 0.1, 0.2], r"shape \[5\] do not fit"),
        ([0.1, 0.2, np.nan, 0, 0], "not finite"),
        ({"red": 1}, "of type dict"),
        ([[["red"]]], "do not fit"),
    ],
)
def test_colours_that_fit_nothing_are_told(colors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plot_features_in_2d(W3, colors=colors)


@pytest.mark.parametrize(
    ("W", "colors"),
    [
        (np.ones((2, 3)), (0.1, 0.2, 0.3)),  # one colour, or an importance per feature
        (np.ones((3, 2, 3)), np.eye(3)),  # three colours, or importances of three instances
        (np.ones((3, 3, 2, 2)), [["red", "blue"]] * 2 + [["red", "red"]]),  # times or instances
    ],
)
def test_colours_that_can_be_read_in_two_ways_are_refused(W: np.ndarray, colors: Any) -> None:
    with pytest.raises(InputError, match=r"several ways for W of shape \["):
        plot_features_in_2d(W, colors=colors)


def test_a_range_says_that_numbers_are_importances() -> None:
    figure = plot_features_in_2d(np.ones((3, 2, 3)), colors=np.eye(3), color_range=(0, 2))
    assert figure.axes[-1].get_ylim() == (0, 2)
    with pytest.raises(InputError, match="lowest, highest"):
        plot_features_in_2d(W3, colors=[0.0] * 5, color_range=(1, 1))


def test_arrays_of_rgb_are_one_colour_per_feature() -> None:
    colors = np.random.default_rng(0).uniform(size=(5, 4))
    np.testing.assert_array_equal(
        face_colors(plot_features_in_2d(W3, colors=colors).axes[2]), colors
    )
    names = np.array(["red", "blue", "k", "w", "C0"])
    assert np.array_equal(
        face_colors(plot_features_in_2d(W3, colors=names).axes[0])[2], [0, 0, 0, 1]
    )


def test_none_stands_for_the_default_at_any_depth() -> None:
    moving = np.stack([W3] * 4)
    figure = animate_features_in_2d(
        moving, colors=[None, None, [["red"]] * 3, [["red", *"kkkk"]] * 3]
    )
    default = face_colors(plot_features_in_2d(W3).axes[0])
    for timestep, first in enumerate((default[0], default[0], to_rgba("red"), to_rgba("red"))):
        figure.show_timestep(timestep)
        assert np.array_equal(face_colors(figure.axes[1])[0], first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"titles": "abc"}, "titles is 'abc'.*a list of 3 is expected"),
        ({"titles": ["a"] * 4}, "titles is a list of 4"),
        ({"titles": [["a"] * 3]}, "a list of 1 of lists of 3"),
        ({"title": ["a", "b", "c"]}, "title is a list of 3.*expected is one text.*called titles"),
        ({"limits": "all"}, '"shared", "own" or a number above 0'),
        ({"limits": -1}, '"shared", "own" or a number above 0'),
        ({"cmap": "viridiss"}, "Nearest: viridis"),
        (
            {"save": "a.mp4"},
            r"a.mp4 ends in .mp4; expected is one of .png, .svg, .pdf, .gif, .html",
        ),
        ({"save": "a"}, "ends in nothing"),
    ],
)
def test_other_arguments_that_cannot_be_followed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plot_features_in_2d(W3, **options)


def test_titles_and_headings_follow_the_timesteps() -> None:
    moving = np.stack([W3] * 2)
    figure = animate_features_in_2d(
        moving, title=["first", "second"], titles=[["a", "b", "c"], [1, None, "z"]]
    )
    seen = []
    for timestep in range(2):
        figure.show_timestep(timestep)
        seen.append([figure.texts[0].get_text(), *(axes.get_title() for axes in figure.axes)])
    assert seen == [["first", "a", "b", "c"], ["second", "1", "", "z"]]
    with pytest.raises(InputError, match=r"title is a list of 3.*2, one per timestep"):
        animate_features_in_2d(moving, title=["a", "b", "c"])
    with pytest.raises(InputError, match=r"or 2 lists of 3"):
        animate_features_in_2d(moving, titles=[["a", "b", "c"]])
    with pytest.raises(InputError, match="There is no timestep 2"):
        figure.show_timestep(2)


def test_an_animation_needs_timesteps_and_a_speed_that_can_be_shown() -> None:
    with pytest.raises(InputError, match=r"\[3, 2, 5\].* has no timesteps"):
        animate_features_in_2d(W3)
    for fps in (0, 51, float("nan"), "fast"):
        with pytest.raises(InputError, match="up to 50 is expected"):
            animate_features_in_2d(np.stack([W3]), fps=fps)  # type: ignore[arg-type]


def test_what_is_given_later_changed_changes_nothing() -> None:
    mine = W3.copy()
    figure = plot_features_in_2d(mine)
    mine[:] = 0
    figure.show_timestep(0)
    np.testing.assert_array_equal(points(figure.axes[0]), W3[0].T)


def test_torch_tensors_of_every_kind() -> None:
    torch = pytest.importorskip("torch")
    plain = torch.tensor(W3)
    kinds = [
        plain.requires_grad_(),
        torch.nn.Parameter(plain.detach().clone()),
        plain.detach().to(torch.bfloat16),
        plain.detach().to(torch.float8_e4m3fn),
        plain.detach().half(),
        plain.detach().to_sparse(),
        plain.detach().transpose(0, 1).contiguous().transpose(0, 1),
        [*plain],
        [*plain.detach().to(torch.bfloat16)],
    ]
    if torch.cuda.is_available():
        kinds.append(plain.detach().to("cuda", torch.bfloat16).requires_grad_())
    for W in kinds:
        figure = plot_features_in_2d(W, colors=torch.rand(1, 5, requires_grad=True).bfloat16())
        np.testing.assert_allclose(points(figure.axes[0]), W3[0].T, rtol=0.1, atol=0.01)
    with torch.inference_mode():
        plot_features_in_2d(torch.ones(2, 3))
    integers = torch.ones(2, 3, dtype=torch.int64)
    assert points(plot_features_in_2d(integers).axes[0]).tolist() == [[1, 1]] * 3
    for wrong in (torch.ones(2, 3, dtype=torch.complex64), torch.ones(2, 3, device="meta")):
        with pytest.raises(InputError, match=r"W is complex|cannot be read as real numbers"):
            plot_features_in_2d(wrong)


def test_a_colour_map_may_be_given_itself() -> None:
    from matplotlib import colormaps

    importance = [0.0, 0.5, 1.0]
    by_name, itself = (
        plot_features_in_2d(np.ones((2, 3)), colors=importance, cmap=cmap)
        for cmap in ("magma", colormaps["magma"])
    )
    assert np.array_equal(face_colors(by_name.axes[0]), face_colors(itself.axes[0]))


def test_show_says_that_there_is_no_window() -> None:
    with pytest.raises(InputError, match=r"opens no window.*figure\.save"):
        plot_features_in_2d(np.ones((2, 3))).show()
