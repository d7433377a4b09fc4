"""Hook points at the ends of the plain model's modules: what they hold and what editing them does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.plain_modules import Place, as_plain, contents, hooked, places
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M4")
def hook_points_hold_what_modules_hold(subject: Subject, found: Findings) -> None:
    """A hook point at a module's end holds what the plain module is given or gives.

    Asked of the tokens, and then of others: nothing of the first may be left.
    """
    at = places(subject)
    for ids, other in ((subject.ids, False), (subject.other_ids, True)):
        told = " for other tokens" if other else ""
        truths = contents(subject, ids)
        for name, held in subject.held(truths, ids=ids).items():
            truth = truths[name]
            script = _held_script(name, at[name], other=other)
            found.close(f"{name}{told}", as_plain(held, truth)(held), truth, script=script)


@check("M5")
def edits_do_what_they_do_to_modules(subject: Subject, found: Findings) -> None:
    """Noise added at a hook point gives the logits that it gives added to the plain module's end.

    Not asked of the residual stream in the middle of a block, though it stands at a norm's input: an
    edit there is one of the stream.
    """
    table = subject.bridge.hook_dict
    middles = {id(point) for name, point in table.items() if name.endswith("hook_resid_mid")}
    at = places(subject)
    for name, plain in contents(subject, subject.ids).items():
        if "sequential-block" in subject.capabilities and id(table[name]) in middles:
            continue
        if name not in subject.cache or not subject.cache[name].is_floating_point():
            continue
        held = subject.cache[name]
        # One noise for all rows where the module has one row for all.
        one_row = len(plain) == 1 and plain.shape[1:] == held.shape[1:]
        noise = subject.noise(held[:1]).expand_as(held) if one_row else subject.noise(held)
        there = as_plain(held, plain)(noise)
        with hooked(subject, at[name], lambda value, there=there: value + there):  # type: ignore[misc]
            truth = subject.plain(subject.ids)
        seen = subject.run([(name, adding(noise))])
        found.close(name, seen, truth, script=_edit_script(name, at[name]))


@check("M3")
def returning_what_was_given_changes_nothing(subject: Subject, found: Findings) -> None:
    """A hook that returns a copy of what it was given leaves the logits as they are, to the bit.

    Inside a norm or an attention a hook may make upstream compute by another road, as it says in a warning:
    there they are the same up to rounding.
    """
    with warnings.catch_warnings(action="ignore"):
        for what, names, ask in (
            ("hook points at modules' ends", places(subject), found.same),
            ("all hook points at once", subject.points, found.close),
        ):
            hooks = [(name, _copied) for name in names]
            ask(what, subject.run(hooks), subject.logits, script=_COPY_SCRIPT)


def _copied(activation: object, hook: object) -> object:
    return activation.clone() if torch.is_tensor(activation) else activation


_COPY_SCRIPT = """\
hooks = [(name, lambda value, hook: value.clone()) for name in bridge.hook_dict]
error = (bridge.run_with_hooks(ids, fwd_hooks=hooks) - bridge(ids)).abs().max()"""


def _held_script(name: str, place: Place, *, other: bool) -> str:
    read = "held.append(args[0] if args else kwargs['hidden_states'])"
    if place.end == "output":
        read = "held.append(output[0] if isinstance(output, tuple) else output)"
    again = "bridge(ids)\nids = torch.where(ids > 3, ids - 1, ids + 1)\n" if other else ""
    return f"""\
{again}held = []
module = reference.get_submodule({place.module!r})
module.register_forward_hook(lambda module, args, kwargs, output: {read}, with_kwargs=True)
reference(ids)
seen = bridge.run_with_cache(ids)[1][{name!r}]
error = (seen.reshape(-1, *held[0].shape[1:]) - held[0]).abs().max()"""


def _edit_script(name: str, place: Place) -> str:
    if place.end == "output":
        put = """\
def add(module, args, output):
    new = output[0] if isinstance(output, tuple) else output
    new = new + noise.reshape(new.shape)
    return (new, *output[1:]) if isinstance(output, tuple) else new
module.register_forward_hook(add)"""
    else:
        put = """\
def add(module, args, kwargs):
    given = dict(zip(["hidden_states"], args)) | kwargs
    new = given["hidden_states"] + noise.reshape(given["hidden_states"].shape)
    return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})
module.register_forward_pre_hook(add, with_kwargs=True)"""
    return f"""\
noise = torch.randn(bridge.run_with_cache(ids)[1][{name!r}].shape)
seen = bridge.run_with_hooks(ids, fwd_hooks=[({name!r}, lambda value, hook: value + noise)])
module = reference.get_submodule({place.module!r})
{put}
error = (seen - reference(ids).logits).abs().max()"""
