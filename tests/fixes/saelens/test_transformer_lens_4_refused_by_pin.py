"""A tree of SAELens refuses TransformerLens 4; with the patches it does not."""

from __future__ import annotations

import shutil
from importlib import util
from pathlib import Path

import pytest
from tests.fixes.source_trees import committed

from tl_ext import fixes
from tl_ext.fixes import State

SLUG = "transformer-lens-4-refused-by-pin"

# The lines of upstream's file that the patch stands between.
PYPROJECT = """\
[project]
name = "sae-lens"
version = "6.54.12"
classifiers = [
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
]
dependencies = [
    "{named}",
    "transformers>=4.38.1,<6.0.0",
    "plotly>=5.19.0",
    "plotly-express>=0.4.1",
]
"""
PINNED = "transformer-lens>=2.16.1,<4.0.0"


@pytest.mark.parametrize(
    ("named", "state"),
    [
        (PINNED, State.PRESENT),
        ("Transformer_Lens < 4", State.PRESENT),
        ("transformer-lens>=2.16.1,<5.0.0", State.ABSENT),
        ("transformer-lens", State.ABSENT),
        ("transformers>=4", State.UNKNOWN),
    ],
)
def test_the_requirement_is_read(named: str, state: State, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(named=named))
    assert fixes.probe(SLUG, tree=tmp_path).state is state


def test_a_tree_without_requirements_has_no_answer(tmp_path: Path) -> None:
    assert fixes.probe(SLUG, tree=tmp_path).state is State.UNKNOWN
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    assert fixes.probe(SLUG, tree=tmp_path).state is State.UNKNOWN


@pytest.mark.saelens
def test_the_patch_lifts_the_pin_after_those_that_it_needs(tmp_path: Path) -> None:
    if fixes.installed_release("sae_lens") is None:
        pytest.skip("SAELens is not installed")
    found = util.find_spec("sae_lens")
    assert found is not None and found.origin is not None
    tree = tmp_path / "SAELens"
    shutil.copytree(
        Path(found.origin).parent, tree / "sae_lens", ignore=shutil.ignore_patterns("__pycache__")
    )
    committed(tree, {"pyproject.toml": PYPROJECT.format(named=PINNED)})
    (report,) = fixes.verify(SLUG, tree=tree)
    assert report.right, report.problem
    assert report.beneath[-1] == "no-import-beside-transformerlens-4"
