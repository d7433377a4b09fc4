"""Inside attention: scores, pattern, values, z and what comes out follow from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M10", "attention-weights")
def scores_pattern_values_and_z_are_there(subject: Subject, found: Findings) -> None:
    """What an attention has a name for, of scores, pattern, q, k, v and z, fires."""
    firing = {id(point) for point in subject.points.values()}
    for layer in range(subject.bridge.cfg.n_layers):
        for kind in ("attn_scores", "pattern", "q", "k", "v", "z"):
            name = f"blocks.{layer}.attn.hook_{kind}"
            point = subject.bridge.hook_dict.get(name)
            if point is not None:
                fires = id(point) in firing
                found.holds(name, fires, "does not fire", script=_silent_script(name))


@check("M10", "attention-weights", "whole-pattern")
def the_pattern_is_the_softmax_of_the_scores(subject: Subject, found: Findings) -> None:
    """The softmax of hook_attn_scores over keys is hook_pattern, also under noise added to the scores."""
    for layer in range(subject.bridge.cfg.n_layers):
        scores, pattern = (
            f"blocks.{layer}.attn.hook_{kind}" for kind in ("attn_scores", "pattern")
        )
        if not {scores, pattern} <= subject.bridge.hook_dict.keys():
            continue
        clean = subject.held([scores, pattern])
        if len(clean) < 2:
            continue
        noise = subject.noise(clean[scores].clamp(-10, 10))
        for told, hooks in (
            ("", []),
            (f" under an edit of {scores}", [(scores, adding(noise))]),
        ):
            held = subject.held([scores, pattern], hooks)
            truth = held[scores].float().softmax(-1).to(held[pattern].dtype)
            script = _softmax_script(layer, edited=bool(hooks))
            found.close(f"{pattern}{told}", held[pattern], truth, script=script)


@check("M10", "attention-weights", "causal")
def the_pattern_sees_nothing_that_comes_later(subject: Subject, found: Findings) -> None:
    """hook_pattern is zero where the key comes after the query, and its rows sum to one if no sink does."""
    length = subject.ids.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    for layer in range(subject.bridge.cfg.n_layers):
        name = f"blocks.{layer}.attn.hook_pattern"
        if name not in subject.bridge.hook_dict:
            continue
        for pattern in subject.held([name]).values():
            shown = pattern.masked_select(later)
            found.close(f"{name} at later keys", shown, torch.zeros_like(shown))
            if "whole-pattern" in subject.capabilities:
                found.close(f"{name} over keys", pattern.sum(-1), torch.ones_like(pattern[..., 0]))


@check("M10", "attention-weights")
def queries_and_keys_meet_in_the_scores(subject: Subject, found: Findings) -> None:
    """Noise at a head of one token's hook_q or hook_k changes that token's row or column of its scores.

    It changes those of that head alone, or of its group, in every row of the batch. Not asked of heads where
    they are normed together after the hook point.
    """
    at = subject.ids.shape[1] // 2
    for layer in range(subject.bridge.cfg.n_layers):
        scores = f"blocks.{layer}.attn.hook_attn_scores"
        for kind, axis in (("q", -2), ("k", -1)):
            name = f"blocks.{layer}.attn.hook_{kind}"
            held = subject.held([name, scores]) if name in subject.bridge.hook_dict else {}
            if len(held) < 2 or held[name].shape[:2] != subject.ids.shape:
                continue
            normed = hasattr(subject.bridge.blocks[layer].attn, f"{kind}_norm")
            apart = held[name].ndim == 4 and not normed
            noise = torch.zeros_like(held[name])
            here = (slice(None), at, -1) if apart else (slice(None), at)
            noise[here] = subject.noise(held[name])[here]
            edited = subject.held([scores], [(name, adding(noise))])[scores]
            moved = (edited - held[scores]).nan_to_num(0).movedim(axis, 0).abs().amax(-1)
            # moved: Float[Tensor, "position batch head"]
            heads = moved.shape[-1]
            reached = heads // held[name].shape[2] if apart else heads
            told = (
                f"noise at token {at} of this does not reach {scores} there in every row and head"
            )
            found.holds(name, bool(moved[at, :, -reached:].all()), told)
            moved[at, :, -reached:] = 0
            told = f"{scores} elsewhere under an edit of token {at} of {name}"
            found.close(told, moved, torch.zeros_like(moved), script=_meet_script(name, scores, at))


@check("M10", "attention-weights", "plain-values")
def z_is_the_pattern_times_the_values(subject: Subject, found: Findings) -> None:
    """hook_pattern times hook_v, each group's values for all its heads, is hook_z, also under edits."""
    for layer in range(subject.bridge.cfg.n_layers):
        names = [f"blocks.{layer}.attn.hook_{kind}" for kind in ("pattern", "v", "z")]
        if not set(names) <= subject.bridge.hook_dict.keys():
            continue
        clean = subject.held(names)
        if len(clean) < 3:
            continue
        for edited in (None, *names[:2]):
            hooks = [] if edited is None else [(edited, adding(subject.noise(clean[edited])))]
            held = subject.held(names, hooks)
            pattern, v, z = (held[name] for name in names)
            v = _by_head(v, subject, pattern.shape[1])
            truth = torch.einsum("bhqk,bkhd->bqhd", pattern, v.to(pattern.dtype))
            z = z if z.ndim == 4 else z.reshape(truth.shape)
            told = names[2] if edited is None else f"{names[2]} under an edit of {edited}"
            found.close(told, z, truth, script=_z_script(layer, edited))


@check("M10", "attention-weights")
def edits_of_scores_and_pattern_reach_z(subject: Subject, found: Findings) -> None:
    """Noise added to hook_attn_scores, hook_pattern, hook_q, hook_k or hook_v changes hook_z."""
    for layer in range(subject.bridge.cfg.n_layers):
        z = f"blocks.{layer}.attn.hook_z"
        if z not in subject.bridge.hook_dict:
            continue
        for kind in ("attn_scores", "pattern", "q", "k", "v"):
            name = f"blocks.{layer}.attn.hook_{kind}"
            held = subject.held([name, z]) if name in subject.bridge.hook_dict else {}
            if len(held) < 2:
                continue
            finite = held[name].clamp(-10, 10)
            edited = subject.held([z], [(name, adding(subject.noise(finite)))])[z]
            found.holds(
                name,
                not torch.equal(edited, held[z]),
                f"noise added here does not reach {z}",
                script=_reach_script(name, z),
            )


@check("M10", "attention-weights", "plain-values")
def an_edit_of_the_pattern_gives_the_z_of_that_pattern(subject: Subject, found: Findings) -> None:
    """With every query made to see the first key alone, hook_z is the first key's values."""
    for layer in range(subject.bridge.cfg.n_layers):
        names = [f"blocks.{layer}.attn.hook_{kind}" for kind in ("pattern", "v", "z")]
        if not set(names) <= subject.bridge.hook_dict.keys():
            continue
        clean = subject.held(names)
        if len(clean) < 3:
            continue
        first = torch.zeros_like(clean[names[0]])
        first[..., 0] = 1
        z = subject.held(names[2:], [(names[0], lambda pattern, hook, first=first: first)])[
            names[2]
        ]
        truth = _by_head(clean[names[1]], subject, first.shape[1])
        truth = truth[:, :1].expand_as(truth)
        z = z if z.ndim == 4 else z.reshape(truth.shape)
        told = f"{names[2]} under an edit of {names[0]}"
        found.close(told, z, truth, script=_first_script(layer))


def _by_head(values: Tensor, subject: Subject, heads: int) -> Tensor:
    """Values [batch, position, head, d_head], each group's for all its heads, however they were laid out."""
    rows, length = subject.ids.shape
    if values.ndim == 4 and heads != length and values.shape[:3] == (rows, heads, length):
        values = values.transpose(1, 2)
    if values.ndim == 3:
        shared = getattr(subject.bridge.cfg, "n_key_value_heads", None) or heads
        values = values.reshape(rows, length, shared, -1)
    return values.repeat_interleave(heads // values.shape[2], dim=2)


def _silent_script(name: str) -> str:
    return f"""\
fired = []
bridge.run_with_hooks(ids, fwd_hooks=[({name!r}, lambda value, hook: fired.append(1))])
error = 1 - len(fired)"""


def _meet_script(name: str, scores: str, at: int) -> str:
    axis = "[:, :, torch.arange(ids.shape[1]) != at]" if name.endswith("q") else "[..., :at]"
    return f"""\
at, seen = {at}, []
def edit(value, hook):
    value = value.clone()
    value[:, at] += torch.randn_like(value[:, at])
    return value
keep = ({scores!r}, lambda value, hook: seen.append(value.clone().clamp(min=-1e9)))
bridge.run_with_hooks(ids, fwd_hooks=[keep])
bridge.run_with_hooks(ids, fwd_hooks=[({name!r}, edit), keep])
error = (seen[1] - seen[0]){axis}.abs().max()"""


def _keeping(layer: int, edited: str | None, kinds: str) -> str:
    """Lines that keep what hook points hold under noise at one of them."""
    edit = f"[({edited!r}, lambda value, hook: value + torch.randn_like(value))]"
    return f"""\
held = {{}}
def keep(kind):
    return (f"blocks.{layer}.attn.hook_{{kind}}", lambda value, hook: held.update({{kind: value.clone()}}))
edit = {edit if edited else []}
bridge.run_with_hooks(ids, fwd_hooks=edit + [keep(kind) for kind in {kinds.split()!r}])
"""


def _softmax_script(layer: int, *, edited: bool) -> str:
    name = f"blocks.{layer}.attn.hook_attn_scores" if edited else None
    return (
        _keeping(layer, name, "attn_scores pattern")
        + """\
error = (held["attn_scores"].softmax(-1) - held["pattern"]).abs().max()"""
    )


def _z_script(layer: int, edited: str | None) -> str:
    return (
        _keeping(layer, edited, "pattern v z")
        + """\
pattern, v, z = (held[kind] for kind in ("pattern", "v", "z"))
width = z.shape[-1] if z.ndim == 4 else z.shape[-1] // pattern.shape[1]
v = v.transpose(1, 2) if v.shape[1:3] == pattern.shape[1:3] else v
v = v.reshape(*v.shape[:2], -1, width) if v.ndim == 3 else v
v = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
truth = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
error = (z.reshape(truth.shape) - truth).abs().max()"""
    )


def _reach_script(name: str, z: str) -> str:
    return f"""\
seen = []
keep = ({z!r}, lambda value, hook: seen.append(value.clone()))
edit = ({name!r}, lambda value, hook: value + torch.randn_like(value))
bridge.run_with_hooks(ids, fwd_hooks=[keep])
bridge.run_with_hooks(ids, fwd_hooks=[edit, keep])
error = float(torch.equal(seen[0], seen[1]))"""


def _first_script(layer: int) -> str:
    block = f"blocks.{layer}.attn.hook_"
    return f"""\
v = bridge.run_with_cache(ids)[1]["{block}v"]
def first(pattern, hook):
    return torch.zeros_like(pattern).index_fill(-1, torch.tensor([0]), 1.0)
seen = []
bridge.run_with_hooks(ids, fwd_hooks=[
    ("{block}pattern", first), ("{block}z", lambda value, hook: seen.append(value.clone()))])
heads = bridge.cfg.n_heads
v = v.reshape(*v.shape[:2], -1, seen[0].reshape(*v.shape[:2], heads, -1).shape[-1])
truth = v[:, :1].repeat_interleave(heads // v.shape[2], dim=2)
error = (seen[0].reshape(*v.shape[:2], heads, -1) - truth).abs().max()"""
