"""Edits that go astray: what a hook returns is not what the model goes on with."""

from __future__ import annotations

from typing import Any

import torch
from tests.conformance.mutants.planting import Mutant, Plant, anew, becomes, both, gives, of, takes
from torch import Tensor

from tl_ext.conformance.subject import Subject

AS_MODULES = "edits-do-what-they-do-to-modules"
ATTENTION = "edits-of-scores-and-pattern-reach-z"
LATER = "edits-change-what-is-later-alone"


def lost(name: str) -> Plant:
    return takes(name, lambda before, after: before)


def first_row(before: Tensor, after: Tensor) -> Tensor:
    return torch.cat([after[:1], before[1:]])


def last_token(before: Tensor, after: Tensor) -> Tensor:
    return torch.cat([before[:, :-1], after[:, -1:]], dim=1)


def token_before(before: Tensor, after: Tensor) -> Tensor:
    return before + (after - before).roll(-1, dims=1)


def in_bfloat16(before: Tensor, after: Tensor) -> Tensor:
    return before if after is before else after.bfloat16().to(after.dtype)


def skip_connection_unedited() -> Plant:
    """What a hook adds to the input of a block is taken off again where the block ends."""
    added: dict[str, Any] = {}

    def remember(before: Tensor, after: Tensor) -> Tensor:
        added["it"] = after - before
        return after

    return both(
        takes("blocks.0.hook_in", remember),
        gives("blocks.0.hook_out", lambda value: value - added["it"]),
    )


def left_for_the_next_run() -> Plant:
    """Half of what a hook adds to the output of a block is in the embedding of the next run too."""
    added: list[Tensor] = []

    def remember(before: Tensor, after: Tensor) -> Tensor:
        added.append((after - before) / 2)
        return after

    return both(
        takes("blocks.0.hook_out", remember),
        gives("embed.hook_out", lambda value: value + added[-1] if added else value),
    )


def fires_twice(subject: Subject) -> None:
    def call(self: Any, value: Tensor) -> Tensor:
        return kind.__call__(self, kind.__call__(self, value))  # type: ignore[no-any-return]

    kind = becomes(subject.bridge.hook_dict["blocks.0.mlp.hook_out"], __call__=call)


def does_not_fire(subject: Subject) -> None:
    becomes(subject.bridge.hook_dict["blocks.0.hook_in"], __call__=lambda self, value: value)


EDITS = (
    Mutant(
        "edit-of-a-modules-input-is-lost",
        "The hook point is called for its effect, and the module is given what was there before.",
        lost("blocks.0.mlp.hook_in"),
        of(AS_MODULES),
        "blocks.0.mlp.hook_in",
    ),
    Mutant(
        "edit-of-the-residual-stream-is-lost",
        "A block returns a tuple; the hook's tensor is put into another one.",
        lost("blocks.0.hook_out"),
        of(LATER, AS_MODULES),
        "blocks.0.hook_out",
    ),
    Mutant(
        "edit-of-z-is-lost",
        "z is reshaped for the hook and the output projection reads the tensor of before.",
        lost("blocks.0.attn.hook_z"),
        of(AS_MODULES),
        "blocks.0.attn.o.hook_in",
    ),
    Mutant(
        "edit-of-the-scores-is-lost",
        "Scores are computed again for the hook, beside a fused kernel.",
        lost("blocks.0.attn.hook_attn_scores"),
        of(ATTENTION, "the-pattern-is-the-softmax-of-the-scores"),
        "blocks.0.attn.hook_attn_scores",
    ),
    Mutant(
        "edit-of-the-pattern-is-lost",
        "The pattern is what the attention returns beside its output: nobody reads it any more.",
        lost("blocks.0.attn.hook_pattern"),
        of(ATTENTION, "an-edit-of-the-pattern-gives-the-z-of-that-pattern"),
        "blocks.0.attn.hook_pattern",
    ),
    Mutant(
        "edit-of-the-values-is-lost",
        "A joint projection is split for the hooks, and split once more for the attention.",
        lost("blocks.0.attn.hook_v"),
        of(ATTENTION, "z-is-the-pattern-times-the-values"),
        "blocks.0.attn.hook_v",
    ),
    Mutant(
        "edit-reaches-the-first-row-alone",
        "An activation is expanded over the batch after the hook, from its first row.",
        takes("blocks.0.hook_in", first_row),
        of(AS_MODULES),
        "blocks.0.hook_in",
    ),
    Mutant(
        "edit-of-keys-reaches-the-first-row-alone",
        "The same inside attention, where no plain module stands.",
        takes("blocks.0.attn.hook_k", first_row),
        of("queries-and-keys-meet-in-the-scores"),
        "blocks.0.attn.hook_k",
    ),
    Mutant(
        "edit-of-values-reaches-the-first-row-alone",
        "The same for values: z changes, but not in every row.",
        takes("blocks.0.attn.hook_v", first_row),
        of("z-is-the-pattern-times-the-values"),
        "hook_z under an edit of blocks.0.attn.hook_v",
    ),
    Mutant(
        "edit-reaches-the-last-token-alone",
        "A step of generation is taken for every forward pass.",
        takes("blocks.0.mlp.hook_out", last_token),
        of(AS_MODULES, "an-edit-of-a-part-moves-the-sum-by-as-much"),
        "blocks.0.mlp.hook_out",
    ),
    Mutant(
        "edit-reaches-all-rows",
        "What a hook adds to the first row is broadcast.",
        takes("blocks.0.hook_out", lambda before, after: before + (after - before)[:1]),
        of(AS_MODULES),
        "blocks.0.hook_out",
    ),
    Mutant(
        "edit-lands-one-token-early",
        "Positions are counted without the BOS that was put before the text.",
        takes("blocks.0.hook_in", token_before),
        of("edits-leave-earlier-tokens-alone", AS_MODULES),
        "blocks.0.hook_in",
    ),
    Mutant(
        "what-hooks-return-is-cast",
        "An activation is brought to the type that the model was loaded in, not the one it computes in.",
        takes("blocks.0.mlp.hook_out", in_bfloat16),
        of("returning-what-was-given-changes-nothing"),
        "hook points at modules' ends",
    ),
    Mutant(
        "edit-counts-twice",
        "Two hook points in a row are one object under two names.",
        takes("blocks.0.hook_mlp_out", lambda before, after: after + (after - before)),
        of("an-edit-of-a-part-moves-the-sum-by-as-much", AS_MODULES),
        "blocks.0.hook_mlp_out",
    ),
    Mutant(
        "edit-of-a-blocks-input-misses-the-skip-connection",
        "The residual is kept before the hook point fires, so the edit goes through the branches alone.",
        anew(skip_connection_unedited),
        of(AS_MODULES),
        "blocks.0.hook_in",
    ),
    Mutant(
        "edit-is-left-for-the-next-run",
        "A hook writes into a buffer that the model uses again.",
        anew(left_for_the_next_run),
        of(LATER),
        "embed.hook_out under an edit of blocks.0.hook_out",
    ),
    Mutant(
        "hook-point-fires-twice",
        "A component calls its output's hook point, and so does the block around it.",
        fires_twice,
        of("each-hook-point-fires-once"),
        "blocks.0.mlp.hook_out",
    ),
    Mutant(
        "hook-point-does-not-fire",
        "A block passes its input by a name that the wrapper does not look for.",
        does_not_fire,
        of("each-hook-point-fires-once"),
        "blocks.0.hook_in",
        of="llama",
    ),
)
