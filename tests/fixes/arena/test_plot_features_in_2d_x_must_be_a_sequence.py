"""The course's function refuses to draw; with the patch it draws what it is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.fixes.source_trees import committed, own_tests_pass, patched

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes import State

SLUG = "plot-features-in-2d-x-must-be-a-sequence"
FILE = "chapter1_transformer_interp/exercises/part4_superposition_and_saes/utils.py"

# As little of the course's file as the bug and the patch need. What stands at its head must neither
# be imported nor run by the probe.
UTILS = """\
from typing import List, Optional

from IPython import get_ipython
from matplotlib import pyplot as plt

OPENED = open(__file__ + ".opened", "w")


def set_matplotlib_backend(backend):
    get_ipython().run_line_magic("matplotlib", backend)


def in_rows(W):
    return W.transpose(-1, -2)


def plot_features_in_2d(
    W,
    colors = None, # shape [timesteps instances feats]
    title: Optional[str] = None,
    subplot_titles: Optional[List[str]] = None,
    save: Optional[str] = None,
    colab: bool = False,
    n_rows: bool = None,
    adjustable_limits: bool = False,
    ani_kwargs: dict = {},
    ani_save_kwargs: dict = {},
):
    set_matplotlib_backend("inline")
    W = in_rows(W if W.ndim == 4 else W[None])
    fig, axs = plt.subplots(n_rows or 1, W.shape[1] // (n_rows or 1), squeeze=False)
    lines = [[ax.plot([], [])[0] for _ in W[0, 0]] for ax in axs.flat]
    markers = [[ax.plot([], [], marker="o")[0] for _ in W[0, 0]] for ax in axs.flat]
    colors = [[["red" for _ in feats] for feats in instances] for instances in W]

    def update(t):
        for instance_idx, n_feats in enumerate(map(len, W[t])):
            for feature_idx in range(n_feats):
                x, y = W[t][instance_idx][feature_idx].tolist()
                lines[instance_idx][feature_idx].set_data([0, x], [0, y])
                markers[instance_idx][feature_idx].set_data(x, y)
                lines[instance_idx][feature_idx].set_color(colors[t][instance_idx][feature_idx])
                markers[instance_idx][feature_idx].set_color(colors[t][instance_idx][feature_idx])
            if title:
                fig.suptitle(title[t])

    for t in range(len(W)):
        update(t)
    plt.show()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return committed(tmp_path / "course", {FILE: UTILS})


def test_it_is_there_and_with_the_patch_it_is_not(tree: Path) -> None:
    assert fixes.probe(SLUG).state is State.UNKNOWN
    before = fixes.probe(SLUG, tree=tree)
    assert before.state is State.PRESENT
    assert f"{FILE} draws nothing" in before.evidence and "sequence" in before.evidence

    patch = patched(tree, "arena", "168d8c2", SLUG)
    assert (patch.files, len(patch.added)) == ((*patch.added, FILE), 1)
    after = fixes.probe(SLUG, tree=tree)
    assert after.state is State.ABSENT, after.evidence
    assert own_tests_pass(tree, patch)


def test_two_lines_are_changed(tree: Path) -> None:
    before = (tree / FILE).read_text(encoding="utf-8").splitlines()
    patched(tree, "arena", "168d8c2", SLUG)
    after = (tree / FILE).read_text(encoding="utf-8").splitlines()
    changed = [(a.strip(), b.strip()) for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [
        ("n_rows: bool = None,", "n_rows: Optional[int] = None,"),
        (
            "markers[instance_idx][feature_idx].set_data(x, y)",
            "markers[instance_idx][feature_idx].set_data([x], [y])",
        ),
    ]


def test_the_file_is_neither_imported_nor_run_and_pyplot_is_left_alone(tree: Path) -> None:
    loaded = set(sys.modules)
    assert fixes.probe(SLUG, tree=tree).state is State.PRESENT
    assert not (tree / f"{FILE}.opened").exists()
    assert not {name for name in set(sys.modules) - loaded if "IPython" in name}


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("def plot_features_in_2d(W):\n    return helper(W)\n", "the probe raised NameError"),
        ("def another(W):\n    pass\n", "defines plot_features_in_2d"),
        ("def plot_features_in_2d(:\n", "defines plot_features_in_2d"),
    ],
)
def test_what_cannot_be_judged_is_unknown(tmp_path: Path, text: str, evidence: str) -> None:
    (tmp_path / "utils.py").write_text(text)
    finding = fixes.probe(SLUG, tree=tmp_path)
    assert finding.state is State.UNKNOWN
    assert evidence in finding.evidence


def test_a_later_function_that_draws_is_free_of_it(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text(
        "def plot_features_in_2d(W, colors=None):\n"
        "    fig, ax = plt.subplots(1, 1)\n"
        "    ax.plot(*W[0].tolist())\n"
    )
    assert fixes.probe(SLUG, tree=tmp_path).state is State.ABSENT


def test_nothing_is_applied_at_run_time() -> None:
    with pytest.raises(FixError, match="source-only"):
        fixes.apply(SLUG)
