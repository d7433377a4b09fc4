"""What every test shares: Hypothesis profiles, one torch thread, the shared material."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Set before transformers is first imported: tests never ask the hub for anything.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# No deadline: the machines that run these tests are shared and their speed varies.
settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", parent=settings.get_profile("default"), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `saelens` where SAELens cannot be imported."""
    from tl_ext.upstream import saelens_usable

    if item.get_closest_marker("saelens") and not saelens_usable():
        pytest.skip("SAELens cannot be imported here")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _the_process_environment() -> Iterator[None]:
    """`os.environ` stays what it is: `datasets` puts a copy in its place when it maps in processes.

    Whoever had read `os.environ` before, as rich has, then no longer sees what a test sets there.
    Source: `Dataset.map` with `num_proc` in `datasets/arrow_dataset.py`.
    """
    environment = os.environ
    yield
    os.environ = environment  # noqa: B003  (the very object, not its contents)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared material; a test that needs it is skipped where it is not."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TL_EXT_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the shared material: no folder at {folder} (set TL_EXT_SHARED)")
    return folder


@pytest.fixture(scope="module")
def fixes_come_back() -> Iterator[None]:
    """What other tests of this process left applied is taken back, and comes back after the module."""
    from tl_ext import fixes

    before = taken_back()
    yield
    taken_back()
    fixes.apply(*before, quiet=True)


@pytest.fixture
def upstream_as_installed(fixes_come_back: None) -> None:
    """Upstream without our fixes, also where an earlier test of the module left some applied."""
    taken_back()


def taken_back() -> list[str]:
    """Take every runtime fix back; once for each apply, what was taken back."""
    from tl_ext import fixes
    from tl_ext.fixes.api import process_ledger

    # An import-time fix whose package is imported is for the whole process.
    before = [
        slug
        for slug, spec in fixes.specs().items()
        if spec.kind == "runtime"
        for _ in range(process_ledger.count(spec))
    ]
    if before:  # each costs a look at every loaded module
        fixes.revert(*before)
    return before


@pytest.fixture(scope="session")
def gpt2_tokenizer(shared: Path) -> PreTrainedTokenizerFast:
    """GPT-2's own tokenizer, from its published vocabulary and merges. Treat it as read-only."""
    folder = shared / "data" / "gpt2_tokenizer"
    if not (folder / "vocab.json").is_file():
        pytest.skip(f"needs GPT-2's tokenizer: no vocab.json in {folder}")
    from transformers import GPT2TokenizerFast

    return GPT2TokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
