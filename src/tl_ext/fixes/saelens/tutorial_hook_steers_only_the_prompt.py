"""SAELens: the steering tutorial steers the prompt alone.

`steering_hook` in `tutorials/using_an_sae_as_a_steering_vector.ipynb` returns early where the
sequence has length 1. `generate` keeps a KV cache unless told otherwise and then passes the prompt
first and one new token at a time, so no generated token is ever steered. Of the prompt it steers as
many tokens as the prompt of another cell is long, less one. Whoever copies the hook compares texts
that were hardly steered.

A notebook is in no package, so there is a patch for SAELens' source tree and nothing to apply at run
time. With the patch the hook adds the vector wherever it is called, as `steering` in
`tutorial_2_0.ipynb` does; generating with and without a cache is then the same.
[`tl_ext.steer`][tl_ext.steering.generation.steer] steers each generated token too.

The probe looks for functions called `steering_hook` in the notebooks of the tree and runs them on
zeros, a sequence of six tokens and then one more token. Nothing else of a notebook is run.

Source: tutorials/using_an_sae_as_a_steering_vector.ipynb, `steering_hook`, as of SAELens 6.37.2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.extracts import cells, defined
from tl_ext.fixes.probing import Finding, State

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "tutorial-hook-steers-only-the-prompt"


def probe(tree: Path) -> Finding:
    """Call the hooks of a tree's tutorials as `generate` with a KV cache does.

    Args:
        tree: The root of SAELens' source, or any folder that holds the notebook.

    Returns:
        PRESENT where a hook leaves a token that comes alone as it was, ABSENT where all steer it,
        UNKNOWN where there is no hook.
    """
    import torch

    names = {
        "torch": torch,
        "steering_on": True,
        "coeff": 1.0,
        "steering_vector": torch.ones(4),
        "sae_out": torch.zeros(1, 5, 4),  # of the prompt in another cell
    }
    steering = []
    for notebook in sorted(tree.rglob("*.ipynb")):
        for cell in cells(notebook):
            hook = defined(cell, "steering_hook", names)
            if hook is None:
                continue
            name = notebook.relative_to(tree).as_posix()
            prompt, token = (_steered_tokens(hook, length) for length in (6, 1))
            if not token:
                evidence = (
                    f"{name}: steering_hook steers {prompt} of 6 tokens that come together and "
                    "none that comes alone, as each generated one does under a KV cache"
                )
                return Finding(State.PRESENT, evidence)
            steering.append(f"{name}: steering_hook steers {prompt} of 6 tokens and 1 of 1")
    if not steering:
        return Finding(State.UNKNOWN, "no notebook of this tree defines steering_hook")
    return Finding(State.ABSENT, "; ".join(steering))


def _steered_tokens(hook: Callable[..., Tensor | None], length: int) -> int:
    """How many tokens of a sequence a hook changes."""
    import torch

    activation: Any = torch.zeros(1, length, 4)
    result = hook(activation, hook=None)
    after = activation if result is None else result
    return int(after.ne(0).any(-1).sum())
