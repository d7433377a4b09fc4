"""TransformerLens: an edit of `hook_resid_mid` reaches the MLP alone, the residual stream goes on unedited.

In a bridge, `blocks.N.hook_resid_mid` is another name of the hook point at the input of what comes
next: of the norm before the MLP (`blocks.N.ln2.hook_in`), or of the MLP itself where no norm is between
(OLMo 2). The block of transformers has kept the residual stream in a variable by then and adds the MLP
to that. So a hook that returns something else there changes what the MLP reads and nothing more; a
dictionary spliced in there (SAELens) is judged by the MLP's part alone; and a gradient read there by a
backward hook is the MLP's part alone. With HookedTransformer all three are those of the residual stream.

The fix shows hooks a copy and writes what they leave into the tensor that the block has kept. What was
right stays bitwise as it is: a block with no hook there is not touched, and hooks that only read see the
same numbers. It knows no architecture: whatever the block does next with the residual stream, norms
after the MLP, multipliers, a post-norm over the sum, it does with the edited one. Parallel blocks have
no `hook_resid_mid`.

The hook point is one under both names, so an edit of `blocks.N.ln2.hook_in` is one of the residual
stream too. For the MLP's input alone there is `hook_mlp_in`, after `set_use_hook_mlp_in(True)`; it now
comes after `hook_resid_mid`, as in HookedTransformer, and leaves the residual stream alone. An edit that
changes the shape is refused: it has no place in the residual stream.
Source: `BlockBridge.hook_aliases` in `transformer_lens/model_bridge/generalized_components/block.py`,
and the norms' `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2_bridge

SLUG = "resid-mid-edit-reaches-mlp-alone"


def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for a block bridge's `forward`.

    Args:
        forward: What is there now.

    Returns:
        The same, in which what hooks make of `hook_resid_mid` is written into the residual stream.
    """

    @wraps(forward)
    def with_a_residual_that_is_edited(block: Any, *args: Any, **options: Any) -> Any:
        reader = _reader(block)
        if reader is None or not _to_be_written_back(reader.hook_in):
            return forward(block, *args, **options)
        with _written_back(block, reader):
            return forward(block, *args, **options)

    return with_a_residual_that_is_edited


def _reader(block: Any) -> Any | None:
    """The component that reads the middle of the residual stream: the one whose input is the hook."""
    target = block.hook_aliases.get("hook_resid_mid", ())
    for path in (target,) if isinstance(target, str) else target:
        owner, _, end = path.rpartition(".")
        reader = block
        for part in owner.split("."):
            reader = getattr(reader, part, None)
        if end == "hook_in" and reader is not None:
            return reader
    return None


def _to_be_written_back(point: Any) -> bool:
    from transformer_lens.hook_points import HookPoint

    if getattr(point, "fired", False):  # a hook there ran the model: the block is at work already
        return False
    # What SAELens puts in place of a hook point edits by itself.
    return not isinstance(point, HookPoint) or point.has_hooks()


@contextmanager
def _written_back(block: Any, reader: Any) -> Iterator[None]:
    """Let the hook point at a component's input fire before it, on a copy, and be written back."""
    from torch.nn import Identity

    point, fired = reader.hook_in, Identity()
    fired.fired = True  # type: ignore[assignment]

    def fire(_module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        residual = (*args, *options.values())[0]
        edited = point(residual.clone())
        if edited.shape != residual.shape:
            raise ValueError(
                f"A hook at {point.name} (hook_resid_mid) returned a tensor of shape "
                f"{tuple(edited.shape)}; the residual stream is {tuple(residual.shape)}. "
                "Return a tensor of that shape, or None."
            )
        # The block of transformers holds this very tensor and will add the MLP to it.
        residual.copy_(edited)

    others = [one for one in block.submodules.values() if one is not reader]
    handles = [one.register_forward_hook(_a_copy) for one in others]
    # First of all, so that the capture of hook_mlp_in comes after it.
    handles.append(reader.register_forward_pre_hook(fire, prepend=True, with_kwargs=True))
    reader._modules["hook_in"] = fired
    try:
        yield
    finally:
        reader._modules["hook_in"] = point
        for handle in handles:
            handle.remove()


def _a_copy(_module: Any, _args: Any, output: Any) -> Any:
    """Keep apart what was seen at a component's output and what is written into later.

    BLOOM's attention adds the residual stream by itself, GPT-1's first norm is after the sum: there
    the middle of the residual stream is what a component gave.
    """
    if hasattr(output, "clone"):
        return output.clone()
    if isinstance(output, tuple | list) and output and hasattr(output[0], "clone"):
        return type(output)([output[0].clone(), *output[1:]])
    return output


def probe() -> Finding:
    """Set the middle of the residual stream to zero in a tiny model.

    Returns:
        PRESENT where what leaves the block is more than the MLP's output, ABSENT where it is that.
    """
    import torch

    bridge = gpt2_bridge()
    seen: dict[str, Any] = {}

    def keep(activation: Any, hook: Any) -> None:
        seen[hook.name] = activation.clone()

    with torch.no_grad():
        bridge.run_with_hooks(
            torch.tensor([[3, 1, 2]]),
            fwd_hooks=[
                ("blocks.0.hook_resid_mid", lambda activation, hook: torch.zeros_like(activation)),
                ("blocks.0.mlp.hook_out", keep),
                ("blocks.0.hook_out", keep),
            ],
        )
    written, left = seen["blocks.0.mlp.hook_out"], seen["blocks.0.hook_out"]
    apart = (left - written).abs().max().item()
    if apart > 1e-4:
        return Finding(
            State.PRESENT, f"set to zero, it leaves {apart:.2g} of itself in hook_resid_post"
        )
    return Finding(State.ABSENT, "set to zero, it leaves the MLP's output alone in hook_resid_post")
