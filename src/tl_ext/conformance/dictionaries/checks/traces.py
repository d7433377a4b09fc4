"""What is left after a dictionary was attached and taken back, and what others' hooks see meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.dictionaries.checks.splicing import latents_name
from tl_ext.conformance.dictionaries.subject import table
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject


class _Raised(Exception):
    """What a hook raises to see whether it is cleaned up after."""


@check("D9")
def what_is_taken_back_leaves_the_model_as_it_was(
    subject: DictionarySubject, found: Findings
) -> None:
    """After a splice, or one that ended in an error, logits, names and hooks are what they were."""
    places = dict.fromkeys((subject.hook_in, subject.hook_out))
    names, shapes = set(subject.bridge.hook_dict), _shapes(subject)
    for way, attach in subject.ways.items():
        for ends in ("run", "error"):
            with subject.kept():
                when = f"after a splice by {way}" + (" that raised" if ends == "error" else "")
                try:
                    with attach(False):
                        subject.run(_raising(subject) if ends == "error" else ())
                except _Raised:
                    pass
                _same_model(subject, found, names, when)
                for name in places:
                    seen = _shapes(subject, name)
                    told = f"fires with {seen} {when}; expected is {shapes[name]}"
                    found.holds(name, seen == shapes[name], told)


@check("D9", "attaches")
def what_is_taken_back_leaves_the_dictionary_as_it_was(
    subject: DictionarySubject, found: Findings
) -> None:
    """A hook on the latents of an attached dictionary is gone with it; names and reshaping are as before."""
    with subject.kept(), torch.no_grad():
        sae = subject.sae
        x = subject.x.unflatten(-1, (1, -1)) if sae.hook_z_reshaping_mode else subject.x
        mode, before = sae.hook_z_reshaping_mode, sae.encode(x)
        names = {name: point.name for name, point in sae.hook_dict.items()}
        with subject.bridge.saes([sae]):
            name = latents_name(subject, "hook_sae_acts_post")
            subject.bridge.add_hook(name, lambda latents, hook: latents + 1)
            subject.run()
        now = {name: point.name for name, point in sae.hook_dict.items()}
        found.same("latents of the dictionary by itself, afterwards", sae.encode(x), before)
        found.holds("hook_sae_acts_post", now == names, f"is called {now}; expected is {names}")
        told = f"is {sae.hook_z_reshaping_mode}; expected is {mode}"
        found.holds("hook_z_reshaping_mode", sae.hook_z_reshaping_mode == mode, told)


@check("D10", "attaches")
def hooks_of_others_see_what_it_reads(subject: DictionarySubject, found: Findings) -> None:
    """A hook that was there before fires once and its edit is read; after the dictionary it fires once."""
    for place in dict.fromkeys((subject.hook_in, subject.hook_out)):
        noise = subject.noise(subject.x if place == subject.hook_in else subject.y)
        edit, fired = _counted(noise)
        with subject.kept():
            subject.bridge.add_hook(place, edit)
            truth = subject.by_hand(subject.place)
            alone = subject.run()
            fired.clear()
            with subject.bridge.saes([subject.sae], use_error_term=False):
                spliced = subject.run()
            told = f"fires {len(fired)} times beside the dictionary; once is expected"
            found.holds(f"a hook at {place}", len(fired) == 1, told)
            found.close(f"logits of a splice over a hook at {place}", spliced, truth)
            fired.clear()
            after = subject.run()
            told = f"fires {len(fired)} times after the dictionary; once is expected"
            found.holds(f"a hook at {place}", len(fired) == 1, told)
            found.same(f"logits under a hook at {place}, after the dictionary", after, alone)


@check("D12", "attaches")
def hook_points_have_all_their_names(subject: DictionarySubject, found: Findings) -> None:
    """A hook fires once under each name of the dictionary's place, and of its latents under each."""
    points = table(subject.bridge)
    for place in dict.fromkeys((subject.hook_in, subject.hook_out)):
        for name in [name for name, point in points.items() if point is points[place]]:
            _once(subject, found, name, "")
    with subject.kept(), subject.bridge.saes([subject.sae]):
        out = points[subject.hook_out]
        for name in [name for name, point in points.items() if point is out]:
            _once(subject, found, f"{name}.hook_sae_output", " beside the dictionary")


def _once(subject: DictionarySubject, found: Findings, name: str, when: str) -> None:
    fired: list[int] = []
    try:
        subject.run([(name, lambda x, hook: fired.append(1))])
        told = f"fires {len(fired)} times{when}; once is expected"
    except (KeyError, ValueError) as error:
        told = f"is refused{when}: {error}"
    found.holds(name, len(fired) == 1, told)


def _same_model(subject: DictionarySubject, found: Findings, names: set[str], when: str) -> None:
    bridge = subject.bridge
    found.same(f"logits {when}", subject.run(), subject.logits)
    now = set(bridge.hook_dict)
    differ = sorted(now ^ names)
    found.holds(f"hook_dict {when}", not differ, f"has gained or lost {differ[:4]}")
    hooks = sorted(name for name, point in bridge.hook_dict.items() if point.fwd_hooks)
    found.holds(f"hooks {when}", not hooks, f"are left at {hooks[:4]}")
    attached = dict(getattr(bridge, "acts_to_saes", {}))
    found.holds(f"acts_to_saes {when}", not attached, f"has {list(attached)}")


def _shapes(subject: DictionarySubject, only: str | None = None) -> Any:
    """The shapes that a hook sees at the dictionary's places, one for each time it fires."""
    seen: dict[str, list[tuple[int, ...]]] = {subject.hook_in: [], subject.hook_out: []}

    def noting(name: str) -> Callable[[Tensor, Any], None]:
        return lambda x, hook: seen[name].append(tuple(x.shape))

    wanted = seen if only is None else (only,)
    try:
        subject.run([(name, noting(name)) for name in wanted])
    except KeyError as error:
        return f"KeyError {error}"
    return seen if only is None else seen[only]


def _raising(subject: DictionarySubject) -> list[tuple[str, Callable[..., Any]]]:
    """A hook that raises somewhere after the dictionary: at the last norm's output."""

    def raises(x: Tensor, hook: Any) -> None:
        raise _Raised

    return [("ln_final.hook_out", raises)]


def _counted(noise: Tensor) -> tuple[Callable[[Tensor, Any], Tensor], list[int]]:
    """A hook that adds noise, and a list that grows each time it does."""
    fired: list[int] = []

    def edit(x: Tensor, hook: Any) -> Tensor:
        fired.append(1)
        return adding(noise.reshape(x.shape))(x, hook)

    return edit, fired
