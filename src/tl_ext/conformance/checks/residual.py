"""The residual stream: what each block adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M8")
def a_block_adds_what_its_parts_give(subject: Subject, found: Findings) -> None:
    """hook_resid_pre, hook_attn_out and hook_mlp_out sum to hook_resid_post."""
    for layer in range(subject.bridge.cfg.n_layers):
        names = _names(subject, layer)
        if names is None:
            continue
        held = subject.held(names)
        if len(held) == len(names):
            pre, attention, mlp, post = (held[name] for name in names)
            found.close(names[-1], pre + attention + mlp, post, script=_sum_script(layer))


@check("M9")
def an_edit_of_a_part_moves_the_sum_by_as_much(subject: Subject, found: Findings) -> None:
    """Noise added to the last part that a block adds moves hook_resid_post by that noise."""
    for layer in range(subject.bridge.cfg.n_layers):
        names = _names(subject, layer)
        if names is None:
            continue
        *_, mlp, post = names
        clean = subject.held([mlp, post])
        if len(clean) < 2:
            continue
        noise = subject.noise(clean[mlp])
        edited = subject.held([post], [(mlp, adding(noise))])
        moved = edited[post] - clean[post]
        found.close(f"{post} under an edit of {mlp}", moved, noise, script=_move_script(layer))


@check("M9", "sequential-block")
def the_residual_stream_in_the_middle_is_one_stream(subject: Subject, found: Findings) -> None:
    """Noise added to hook_resid_mid moves hook_resid_post as noise added to hook_attn_out does."""
    for layer in range(subject.bridge.cfg.n_layers):
        part, middle, post = (
            f"blocks.{layer}.{name}"
            for name in ("hook_attn_out", "hook_resid_mid", "hook_resid_post")
        )
        if not {part, middle, post} <= subject.bridge.hook_dict.keys():
            continue
        held = subject.held([part, middle, post])
        if len(held) < 3:
            continue
        noise = subject.noise(held[part])
        truth = subject.held([post], [(part, adding(noise))])[post]
        seen = subject.held([post], [(middle, adding(noise))])[post]
        found.close(f"{post} under an edit of {middle}", seen, truth, script=_middle_script(layer))


def _names(subject: Subject, layer: int) -> list[str] | None:
    """The names of what enters, is added to and leaves the stream at a layer; None where one is absent."""
    kinds = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    names = [f"blocks.{layer}.{kind}" for kind in kinds]
    return names if set(names) <= subject.bridge.hook_dict.keys() else None


def _sum_script(layer: int) -> str:
    return f"""\
cache = bridge.run_with_cache(ids)[1]
kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
pre, attention, mlp, post = (cache[f"blocks.{layer}.hook_{{kind}}"] for kind in kinds)
error = (pre + attention + mlp - post).abs().max()"""


def _move_script(layer: int) -> str:
    part, post = f"blocks.{layer}.hook_mlp_out", f"blocks.{layer}.hook_resid_post"
    return f"""\
clean = bridge.run_with_cache(ids)[1]
noise, seen = torch.randn(clean[{part!r}].shape), []
bridge.run_with_hooks(ids, fwd_hooks=[
    ({part!r}, lambda value, hook: value + noise),
    ({post!r}, lambda value, hook: seen.append(value.clone()))])
error = (seen[0] - clean[{post!r}] - noise).abs().max()"""


def _middle_script(layer: int) -> str:
    block = f"blocks.{layer}."
    return f"""\
noise = torch.randn(bridge.run_with_cache(ids)[1]["{block}hook_attn_out"].shape)
seen = []
for kind in ("attn_out", "resid_mid"):
    bridge.run_with_hooks(ids, fwd_hooks=[
        (f"{block}hook_{{kind}}", lambda value, hook: value + noise),
        ("{block}hook_resid_post", lambda value, hook: seen.append(value.clone()))])
error = (seen[0] - seen[1]).abs().max()"""
