"""What holds of every hook point: it fires once, and an edit there goes one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M2")
def each_hook_point_fires_once(subject: Subject, found: Findings) -> None:
    """In one forward pass no hook point fires twice, and those of the residual stream fire."""
    times = dict.fromkeys(subject.points, 0)

    def count(name: str) -> Any:
        def fired(activation: Any, hook: Any) -> None:
            times[name] += 1

        return fired

    subject.run([(name, count(name)) for name in times])
    for name, n in times.items():
        found.holds(name, n == 1, f"fires {n} times; once is expected", script=_times_script(name))
    for layer in range(subject.bridge.cfg.n_layers):
        for end in ("hook_in", "hook_out"):
            name = f"blocks.{layer}.{end}"
            found.holds(name, name in times, "does not fire", script=_times_script(name))
    firing = {id(point) for point in subject.points.values()}
    for name, point in subject.bridge.hook_dict.items():
        if name.endswith(_STREAM):
            fires = id(point) in firing
            found.holds(name, fires, "does not fire", script=_times_script(name))


_STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
"""What every block has of the residual stream, and what it adds to it, where it has the name."""


@check("M2")
def shapes_are_those_that_names_promise(subject: Subject, found: Findings) -> None:
    """The residual stream is [batch, position, d_model] wherever it is hooked."""
    width = (*subject.ids.shape, subject.bridge.cfg.d_model)
    for layer in range(subject.bridge.cfg.n_layers):
        for end in ("hook_in", "hook_out"):
            name = f"blocks.{layer}.{end}"
            shape = tuple(subject.cache[name].shape) if name in subject.cache else None
            found.holds(name, shape == width, f"has the shape {shape}; expected is {width}")


@check("M6")
def edits_change_what_is_later_alone(subject: Subject, found: Findings) -> None:
    """Noise at the residual stream changes the logits, and no hook point that fired before it."""
    fired = list(subject.points)
    for layer in range(subject.bridge.cfg.n_layers):
        for end in ("hook_in", "hook_out"):
            name = f"blocks.{layer}.{end}"
            if name not in subject.cache:
                continue
            noise = subject.noise(subject.cache[name])
            hook = (name, adding(noise))
            found.holds(
                name,
                not torch.equal(subject.run([hook]), subject.logits),
                "noise added here does not reach the logits",
                script=_reach_script(name),
            )
            before = fired[: fired.index(name)]
            for earlier, value in subject.held(before, [hook]).items():
                found.same(f"{earlier} under an edit of {name}", value, subject.cache[earlier])


@check("M7", "causal")
def edits_leave_earlier_tokens_alone(subject: Subject, found: Findings) -> None:
    """Noise at the residual stream of one token leaves the logits of the tokens before it as they are."""
    length = subject.ids.shape[1]
    for layer in range(subject.bridge.cfg.n_layers):
        name = f"blocks.{layer}.hook_in"
        if name not in subject.cache:
            continue
        for at in sorted({1, length // 2, length - 1}):
            noise = subject.noise(subject.cache[name])
            noise[:, :at] = 0
            noise[:, at + 1 :] = 0
            edited = subject.run([(name, adding(noise))])
            told = f"logits before token {at}, which {name} is edited at"
            script = _before_script(name, at)
            found.close(told, edited[:, :at], subject.logits[:, :at], script=script)


def _times_script(name: str) -> str:
    return f"""\
times = []
bridge.run_with_hooks(ids, fwd_hooks=[({name!r}, lambda value, hook: times.append(1))])
error = abs(len(times) - 1)"""


def _reach_script(name: str) -> str:
    return f"""\
edit = ({name!r}, lambda value, hook: value + torch.randn_like(value))
error = float(torch.equal(bridge.run_with_hooks(ids, fwd_hooks=[edit]), bridge(ids)))"""


def _before_script(name: str, at: int) -> str:
    return f"""\
def edit(value, hook):
    value = value.clone()
    value[:, {at}] += torch.randn_like(value[:, {at}])
    return value
edited = bridge.run_with_hooks(ids, fwd_hooks=[({name!r}, edit)])
error = (edited - bridge(ids))[:, :{at}].abs().max()"""
