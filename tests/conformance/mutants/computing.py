"""Models that compute something else than the plain model, each in one place."""

from __future__ import annotations

from typing import Any

import torch
from tests.conformance.mutants.planting import (
    Mutant,
    Plant,
    anew,
    becomes,
    both,
    gives,
    of,
    of_heads,
    takes,
    weight,
)
from torch import Tensor

from tl_ext.conformance.subject import Subject

LOGITS = "logits-are-the-plain-models"
HELD = "hook-points-hold-what-modules-hold"
SCORES = "blocks.0.attn.hook_attn_scores"
GROUPS = [0, 2, 1, 3]  # four heads of two groups, in the other order


def zeroed(name: str) -> Plant:
    return lambda subject: set_to(subject, name, torch.zeros_like(weight(subject, name)))


def set_to(subject: Subject, name: str, value: Tensor) -> None:
    weight(subject, name).data = value.clone()


def next_key_seen(scores: Tensor) -> Tensor:
    scores = scores.clone()
    scores[:, :, 0, 1] = 0
    return scores


def own_key_hidden(scores: Tensor) -> Tensor:
    scores = scores.clone()
    for at in range(1, scores.shape[-1]):
        scores[:, :, at, at] = torch.finfo(scores.dtype).min
    return scores


def masked_without_hooks_alone(subject: Subject) -> None:
    def call(self: Any, scores: Tensor) -> Tensor:
        return kind.__call__(  # type: ignore[no-any-return]
            self, next_key_seen(scores) if self._forward_hooks else scores
        )

    kind = becomes(subject.bridge.hook_dict[SCORES], __call__=call)


def residual_twice() -> Plant:
    begun: dict[str, Any] = {}

    def remember(before: Tensor, after: Tensor) -> Tensor:
        begun["it"] = after
        return after

    return both(
        takes("blocks.0.hook_in", remember),
        gives("blocks.0.hook_out", lambda value: value + begun["it"]),
    )


def positions_from_one(subject: Subject) -> None:
    name = "transformer.wpe.weight"
    set_to(subject, name, weight(subject, name).roll(-1, dims=0))


def tied(subject: Subject) -> None:
    set_to(subject, "lm_head.weight", weight(subject, "model.embed_tokens.weight"))


def without_gain(subject: Subject) -> None:
    set_to(subject, "model.norm.weight", torch.ones(12))


def other_rotary_base(subject: Subject) -> None:
    weight(subject, "model.rotary_emb.inv_freq").mul_(0.5)


def unembedding_told_wrongly(subject: Subject) -> None:
    told = weight(subject, "model.embed_tokens.weight").mT
    becomes(subject.bridge.unembed, W_U=property(lambda self: told))


COMPUTING = (
    Mutant(
        "mask-lets-the-next-key-in",
        "A causal mask with one diagonal too many.",
        gives(SCORES, next_key_seen),
        of(LOGITS, "edits-leave-earlier-tokens-alone", "the-pattern-sees-nothing-that-comes-later"),
        "blocks.0.attn.hook_pattern at later keys",
    ),
    Mutant(
        "mask-hides-the-own-key",
        "A causal mask with one diagonal too few.",
        gives(SCORES, own_key_hidden),
        of(LOGITS, HELD),
        "blocks.0.attn.hook_out",
    ),
    Mutant(
        "mask-is-another-one-under-hooks",
        "With hooks attention takes another road, and that one builds its own mask.",
        masked_without_hooks_alone,
        of("returning-what-was-given-changes-nothing"),
        "all hook points at once",
    ),
    Mutant(
        "scores-are-scaled-twice",
        "Queries are scaled where they are made, and scores again.",
        gives(SCORES, lambda scores: scores / 2),
        of(LOGITS, HELD),
        "blocks.0.attn.hook_out",
        of="llama",
    ),
    Mutant(
        "groups-are-repeated-in-the-other-order",
        "repeat where repeat_interleave is meant: heads 0 1 0 1 of the values for 0 0 1 1.",
        both(
            takes("blocks.0.attn.hook_pattern", lambda before, after: after[:, GROUPS]),
            gives("blocks.0.attn.hook_z", of_heads(lambda z: z[:, :, GROUPS])),
        ),
        of(LOGITS, "z-is-the-pattern-times-the-values"),
        "blocks.0.attn.hook_z",
        of="llama",
    ),
    Mutant(
        "bias-of-the-attention-is-dropped",
        "A family has it and the adapter's template does not.",
        zeroed("transformer.h.0.attn.o.bias"),
        of(LOGITS, HELD),
        "blocks.0.attn.o.hook_out",
    ),
    Mutant(
        "bias-of-the-mlp-is-dropped",
        "The same for the MLP.",
        zeroed("transformer.h.0.mlp.c_fc.bias"),
        of(LOGITS, HELD),
        "blocks.0.mlp.in.hook_out",
    ),
    Mutant(
        "bias-of-the-unembedding-is-dropped",
        "Most families have none; those that do lose theirs.",
        zeroed("lm_head.bias"),
        of(LOGITS, HELD),
        "unembed.hook_out",
        of="gptj",
    ),
    Mutant(
        "residual-is-added-twice",
        "A wrapped block adds the residual, and so does the module in it.",
        anew(residual_twice),
        of(LOGITS, "a-block-adds-what-its-parts-give"),
        "blocks.0.hook_resid_post",
    ),
    Mutant(
        "factor-of-a-branch-comes-after-its-hook-point",
        "Granite multiplies what a branch gives, after it was hooked.",
        takes("blocks.0.hook_mlp_out", lambda before, after: after * 0.5),
        of("a-block-adds-what-its-parts-give", "an-edit-of-a-part-moves-the-sum-by-as-much"),
        "blocks.0.hook_resid_post",
        of="llama",
    ),
    Mutant(
        "rows-are-exchanged",
        "A batch is sorted by length and not sorted back.",
        gives("blocks.0.hook_in", lambda value: value.flip(0)),
        of(LOGITS, HELD),
        "blocks.0.hook_in",
    ),
    Mutant(
        "positions-begin-with-one",
        "OPT's offset of positions in a model that has none.",
        positions_from_one,
        of(LOGITS, HELD),
        "pos_embed.hook_out",
    ),
    Mutant(
        "rotary-base-is-another",
        "The base is read from a field that the config has no longer.",
        other_rotary_base,
        of(LOGITS, HELD),
        "blocks.0.attn.hook_out",
        of="llama",
    ),
    Mutant(
        "final-norm-has-no-gain",
        "The final norm's gain is folded, and the unembedding it was folded into is not the one used.",
        without_gain,
        of(LOGITS, HELD),
        "ln_final.hook_out",
        of="llama",
    ),
    Mutant(
        "unembedding-is-tied-to-the-embedding",
        "Weights are tied by default where the config says that they are not.",
        tied,
        of(LOGITS, HELD),
        "unembed.hook_out",
        of="llama",
    ),
    Mutant(
        "unembedding-is-told-wrongly",
        "W_U is read off the embedding, as in models that tie them.",
        unembedding_told_wrongly,
        of("the-last-residual-stream-gives-the-logits"),
        "unembed",
        of="llama",
    ),
)
