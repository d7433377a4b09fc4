"""What a dictionary computes by itself: saving, decoding, folding, and this package's readers of it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.dictionaries.dictionary import NORMALISED

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject


@check("D1", "saelens")
def saved_and_loaded_it_is_the_same(subject: DictionarySubject, found: Findings) -> None:
    """What `load_from_disk` makes of what `save_model` wrote has the same cfg, latents and output."""
    with tempfile.TemporaryDirectory() as folder, subject.kept(), torch.no_grad():
        subject.sae.save_model(folder)
        loaded = type(subject.sae).load_from_disk(folder)
        loaded.turn_off_forward_pass_hook_z_reshaping()
        was, now = subject.sae.cfg.to_dict(), loaded.cfg.to_dict()
        for name in sorted(was.keys() | now.keys()):
            told = f"is {now.get(name)!r} after loading; saved was {was.get(name)!r}"
            found.holds(f"cfg.{name}", was.get(name) == now.get(name), told)
        found.same("latents", loaded.encode(subject.x), subject.reference.encode(subject.x))
        found.same("the reconstruction", loaded(subject.x), subject.reference(subject.x))


@check("D2")
def reconstructions_are_sums_of_contributions(subject: DictionarySubject, found: Findings) -> None:
    """Latents times decoder directions, and the bias, are what is decoded, before it is scaled back."""
    ours = subject.ours
    latents, directions = ours.encode(subject.x), ours.directions
    sums = torch.einsum("btl,ld->btd", latents, directions) + ours.bias
    found.close("decode of this package's reader", ours.decode(latents, NORMALISED), sums)
    if subject.sae is not None:
        with heads_side_by_side(subject) as sae:
            latents = sae.encode(subject.x)
            found.close("hook_sae_recons", _recons(sae, latents), _sums(subject, latents))
            # Of any latents, not of those alone that it gives itself.
            sae.encode(subject.x)
            others = subject.noise(latents)
            found.close("hook_sae_recons", _recons(sae, others), _sums(subject, others))


@check("D3", "saelens", "scales-by-input")
def latents_are_decoded_with_their_own_scale(subject: DictionarySubject, found: Findings) -> None:
    """Decoding latents after another input was encoded, and once more, gives what it gave at first."""
    with heads_side_by_side(subject) as sae:
        # By another object, which has encoded nothing in between.
        truth = subject.reference.decode(subject.reference.encode(subject.x))
        latents = sae.encode(subject.x)
        sae.encode(3 * subject.x.roll(1, 0) + subject.noise(subject.x))
        found.close("decode after another encode", sae.decode(latents), truth)
        found.close("decode once more", sae.decode(latents), truth)


@check("D4", "saelens", "folds-norms")
def folded_norms_are_the_unit_of_latents(subject: DictionarySubject, found: Findings) -> None:
    """After `fold_W_dec_norm` directions are of length 1, latents longer by as much, the output is the same.

    Latents that are measured in units of their direction's length already stay as they are.
    """
    with torch.no_grad():
        folded = type(subject.sae)(copy.deepcopy(subject.sae.cfg))
        folded.load_state_dict(subject.sae.state_dict())
        folded.turn_off_forward_pass_hook_z_reshaping()
        norms = subject.sae.W_dec.norm(dim=-1)
        measured = getattr(subject.sae.cfg, "rescale_acts_by_decoder_norm", False)
        folded.fold_W_dec_norm()
        unit = torch.ones_like(norms)
        found.close("the lengths of W_dec", folded.W_dec.norm(dim=-1), unit)
        latents = subject.reference.encode(subject.x)
        found.holds("latents", bool((latents != 0).any()), "are all 0: there is nothing to compare")
        scaled = latents if measured else latents * norms
        found.close("latents", folded.encode(subject.x), scaled)
        found.close("the reconstruction", folded(subject.x), subject.reconstruct(subject.x))


@check("D5", "saelens")
def our_readers_compute_the_same(subject: DictionarySubject, found: Findings) -> None:
    """This package's reading of SAELens' object gives its latents and its output, in batches and by row."""
    with torch.no_grad():
        latents = subject.reference.encode(subject.x)
    found.close("latents", subject.ours.encode(subject.x), latents)
    found.close("the output", subject.ours.reconstruct(subject.x), subject.reconstruct(subject.x))
    if not subject.ours.needs_context:
        rows = subject.x[0]
        found.close("latents of rows", subject.ours.encode(rows), latents[0])


@contextmanager
def heads_side_by_side(subject: DictionarySubject) -> Iterator[Any]:
    """The dictionary itself, reading rows whose heads lie side by side for as long as the context lasts.

    Args:
        subject: The subject.

    Yields:
        SAELens' object.
    """
    with subject.kept(), torch.no_grad():
        subject.sae.turn_off_forward_pass_hook_z_reshaping()
        yield subject.sae


def _recons(sae: Any, latents: Tensor) -> Tensor:
    """What is decoded before it is scaled back, which is what this hook point holds."""
    seen: list[Tensor] = []
    with sae.hooks(fwd_hooks=[("hook_sae_recons", lambda x, hook: seen.append(x.clone()))]):
        sae.decode(latents)
    return seen[0]


def _sums(subject: DictionarySubject, latents: Tensor) -> Tensor:
    """Contributions summed by hand."""
    cfg, directions, bias = subject.sae.cfg, subject.reference.W_dec, subject.reference.b_dec
    if getattr(cfg, "rescale_acts_by_decoder_norm", False):
        directions = directions / directions.norm(dim=-1, keepdim=True)
    # Dictionaries with one matrix for both ways give back the bias where they take it.
    tied = cfg.architecture() == "matching_pursuit" or getattr(cfg, "tied_weights", False)
    sums: Tensor = latents @ directions
    return sums if tied and not cfg.apply_b_dec_to_input else sums + bias
