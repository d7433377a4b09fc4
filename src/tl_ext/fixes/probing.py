"""Asking whether a bug is there, without leaving a trace.

A probe reproduces its bug on a model of random weights, in well under two seconds, and says what it
saw. It never looks at a version number: a backport or a half-merged fix would make that a guess.
"""

from __future__ import annotations

import importlib
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tl_ext.errors import FixError
from tl_ext.plugins.manager import resolve

if TYPE_CHECKING:
    from tl_ext.plugins.specs import FixSpec


class State(StrEnum):
    """Whether a bug shows itself."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Finding:
    """What a probe saw.

    Attributes:
        state: Whether the bug is there.
        evidence: What was seen, in one line.
        seconds: How long the probe took, after imports.
    """

    state: State
    evidence: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.state}: {self.evidence}"


def run_probe(spec: FixSpec, *, tree: Path | None = None) -> Finding:
    """Run a fix's probe and put back what it may have disturbed.

    Args:
        spec: The fix.
        tree: For a source-only fix, the source tree its probe is given; nothing is imported first.

    Returns:
        The probe's finding. UNKNOWN where the upstream package cannot be imported, a source-only
        fix was given no tree, or the probe itself raises, with the error as evidence.

    Raises:
        FixError: A tree was given for a fix of another kind, or is no folder.
        PluginError: The reference to the probe does not resolve.
    """
    of_source = spec.kind == "source-only"
    if tree is not None and not of_source:
        raise FixError(
            f"The fix {spec.slug!r} is {spec.kind}: its probe asks what is installed, and a tree "
            "is for source-only fixes. Leave the tree out."
        )
    if tree is not None and not tree.is_dir():
        raise FixError(f"There is no folder {tree}; the root of a source tree is expected.")
    if of_source and tree is None:
        return Finding(
            State.UNKNOWN, "no package installs these files: name a source tree (--tree)"
        )
    if not of_source:
        # Imported out here: what upstream's import does to the warning filters is upstream's to keep.
        try:
            importlib.import_module(spec.upstream)
        except Exception as error:
            # Which may be the very bug that the probe of an import-time fix looks for.
            if spec.kind != "import-time":
                return Finding(State.UNKNOWN, f"importing {spec.upstream} failed: {_told(error)}")
    probe: Callable[..., Finding] = resolve(spec.probe)
    with undisturbed():
        begin = time.perf_counter()
        try:
            finding = probe() if tree is None else probe(tree)
        except Exception as error:
            finding = Finding(State.UNKNOWN, f"the probe raised {_told(error)}")
        return Finding(finding.state, finding.evidence, time.perf_counter() - begin)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the random states, warning filters, log level, gradient mode and default dtype on
    leaving.

    Warnings raised inside are not shown. Python's `random`, numpy and torch (CPU) are covered.
    """
    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    gradients, disabled = torch.is_grad_enabled(), logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.ERROR)
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        logging.disable(disabled)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _told(error: BaseException) -> str:
    """An error in one line of reasonable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
