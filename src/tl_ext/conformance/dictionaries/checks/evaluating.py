"""What an evaluation gives dictionaries whose score is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.dictionaries.subject import Place, flat, texts
from tl_ext.dictionaries import folders
from tl_ext.dictionaries.quality import evaluate_dictionary
from tl_ext.models.tokens import batch

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject
    from tl_ext.dictionaries.dictionary import Dictionary


@check("D13", "texts")
def evaluations_give_the_activation_one_and_zeros_nothing(
    subject: DictionarySubject, found: Findings
) -> None:
    """An identity recovers all cross-entropy, a dictionary of zeros none; each is what hooks by hand give."""
    width = subject.y.shape[-1]
    eye = torch.eye(width, dtype=subject.dtype)
    identity, zeros = (_standard(subject, factor * torch.cat([eye, -eye])) for factor in (1.0, 0.0))
    given = texts(subject.bridge, subject.ids) or []
    of_identity = evaluate_dictionary(subject.bridge, identity, given).content
    of_zeros = evaluate_dictionary(subject.bridge, zeros, given).content
    clean = _by_hand(subject, given, None)
    zeroed = _by_hand(subject, given, Place(subject.hook_out, subject.hook_out, torch.zeros_like))
    for what, got, truth in (
        ("ce_clean", of_zeros.ce_clean, clean),
        ("ce_splice of an identity", of_identity.ce_splice, clean),
        ("ce_splice of zeros", of_zeros.ce_splice, zeroed),
        ("ce_zero", of_zeros.ce_zero, zeroed),
        ("fvu of an identity", of_identity.fvu, 0.0),
    ):
        found.close(what, torch.tensor(got), torch.tensor(truth))
    for what, measures, score in (("an identity", of_identity, 1.0), ("zeros", of_zeros, 0.0)):
        # Where zeros do the model no harm there is nothing to recover.
        if not math.isnan(measures.ce_recovered):
            recovered = torch.tensor(measures.ce_recovered)
            found.close(f"ce_recovered of {what}", recovered, torch.tensor(score))


@check("D13", "texts")
def evaluations_splice_the_dictionary_itself(subject: DictionarySubject, found: Findings) -> None:
    """The cross-entropy with the dictionary is that of its splice by hand at the tokens of content."""
    given = texts(subject.bridge, subject.ids) or []
    measured = evaluate_dictionary(subject.bridge, subject.ours, given).content
    truth = _by_hand(subject, given, subject.place)
    found.close("ce_splice", torch.tensor(measured.ce_splice), torch.tensor(truth))


def _standard(subject: DictionarySubject, W_dec: Tensor) -> Dictionary:
    """A dictionary at the place written whose encoder has the decoder's directions, without biases."""
    d_latent, d_in = W_dec.shape
    config = folders.parse_config(
        {
            "architecture": "standard",
            "d_in": d_in,
            "d_sae": d_latent,
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "metadata": {"hook_name": subject.hook_out},
        },
        where="an identity, or zeros",
    )
    weights = {
        "W_enc": W_dec.T.contiguous(),
        "b_enc": W_dec.new_zeros(d_latent),
        "W_dec": W_dec,
        "b_dec": W_dec.new_zeros(d_in),
    }
    return folders.build(config, weights)


@torch.no_grad()
def _by_hand(subject: DictionarySubject, given: list[str], place: Place | None) -> float:
    """Mean cross-entropy of what follows tokens of content, with something put in place at these."""
    tokens = batch(subject.bridge, given)
    seen: list[Tensor] = []

    def read(x: Tensor, hook: Any) -> None:
        seen.append(flat(x))

    def write(y: Tensor, hook: Any) -> Tensor:
        assert place is not None
        made = place.rows(seen.pop()).to(y.dtype)
        return torch.where(tokens.content[..., None], made, flat(y)).reshape(y.shape)

    hooks = [] if place is None else [(place.reads, read), (place.writes, write)]
    logits = subject.bridge.run_with_hooks(
        tokens.ids, fwd_hooks=hooks, **tokens.forward_arguments()
    )
    chosen = tokens.content[:, :-1] & tokens.mask[:, 1:]
    predicted, wanted = logits[:, :-1][chosen], tokens.ids[:, 1:][chosen]
    return float(torch.nn.functional.cross_entropy(predicted.float(), wanted))
