"""What the model computes with a dictionary in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.dictionaries.subject import Place
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject


@check("D6")
def splices_are_those_made_by_hand(subject: DictionarySubject, found: Findings) -> None:
    """Attached, it gives the logits that a plain hook gives which puts its output in place."""
    truth = subject.by_hand(subject.place)
    for way, attach in subject.ways.items():
        with subject.kept():
            with attach(False):
                spliced = subject.run()
            found.close(f"logits of a splice by {way}", spliced, truth)


@check("D7")
def error_terms_make_splices_whole(subject: DictionarySubject, found: Findings) -> None:
    """With the error term logits are those without the dictionary, and it is what is left over, exactly."""
    for way, attach in subject.ways.items():
        with subject.kept():
            with attach(True):
                spliced = subject.run()
            found.close(
                f"logits of a splice by {way}, with its error term", spliced, subject.logits
            )
    if "attaches" in subject.capabilities:
        with subject.kept(), subject.bridge.saes([subject.sae], use_error_term=True):
            name = latents_name(subject, "hook_sae_error")
            left = subject.held([name]).get(name)
        fired = left is not None
        found.holds("hook_sae_error", fired, "does not fire where the error term is asked for")
        if left is not None:
            found.same("hook_sae_error", left, subject.y - subject.reconstruct(subject.x))


@check("D8", "attaches")
def edits_of_latents_move_what_they_contribute(subject: DictionarySubject, found: Findings) -> None:
    """Latents fire attached as by themselves; more of them adds their directions, error term or not."""
    latents = _latents(subject)
    noise, activation = subject.noise(latents), subject.y
    scale = getattr(subject.ours.statistics(subject.x), "scale", None)
    moved = noise @ subject.ours.directions.detach()
    moved = moved if scale is None else moved * scale

    def with_more(x: Tensor) -> Tensor:
        return subject.reconstruct(x) + moved

    def whole(x: Tensor) -> Tensor:
        return activation + moved

    for error, rows in ((False, with_more), (True, whole)):
        told = "with the error term" if error else "without the error term"
        with subject.kept(), subject.bridge.saes([subject.sae], use_error_term=error):
            name = latents_name(subject, "hook_sae_acts_post")
            seen: dict[str, Tensor] = subject.held([name])
            fired = name in seen
            found.holds(name, fired, f"does not fire {told}: latents are neither read nor edited")
            if not fired:
                continue
            found.close(f"{name} {told}", seen[name], latents)
            edited = subject.run([(name, adding(noise))])
        truth = subject.by_hand(Place(subject.hook_in, subject.hook_out, rows))
        found.close(f"logits under an edit of {name}, {told}", edited, truth)


def latents_name(subject: DictionarySubject, inner: str) -> str:
    """The name, while it is attached, of a hook point inside the dictionary.

    Args:
        subject: The subject.
        inner: Its name in the dictionary.
    """
    return str(subject.bridge.get_sae_hook_name(subject.sae, inner))


@torch.no_grad()
def _latents(subject: DictionarySubject) -> Tensor:
    latents: Tensor = subject.reference.encode(subject.x)
    return latents
