"""Hook points that hold something else than their names say, in a model that computes rightly."""

from __future__ import annotations

from typing import Any

from tests.conformance.mutants.planting import (
    Mutant,
    Plant,
    anew,
    both,
    named,
    of,
    of_heads,
    shows,
    takes,
)
from torch import Tensor

HELD = "hook-points-hold-what-modules-hold"
SOFTMAX = "the-pattern-is-the-softmax-of-the-scores"
SUM = "a-block-adds-what-its-parts-give"
MEET = "queries-and-keys-meet-in-the-scores"
Z = "z-is-the-pattern-times-the-values"
FIRES = "each-hook-point-fires-once"
MIDDLE = "the-residual-stream-in-the-middle-is-one-stream"


def of_the_run_before(name: str) -> Plant:
    kept: list[Tensor] = []

    def stale(value: Tensor) -> Tensor:
        kept.append(value)
        return kept[-2] if len(kept) > 1 else value

    return shows(name, stale)


def after_the_sum() -> Plant:
    """What the MLP adds is hooked once it is added."""
    middle: dict[str, Any] = {}

    def remember(before: Tensor, after: Tensor) -> Tensor:
        middle["it"] = after
        return after

    return both(
        takes("blocks.0.ln2.hook_in", remember),
        shows("blocks.0.mlp.hook_out", lambda value: value + middle["it"]),
    )


def heads_mixed(z: Tensor) -> Tensor:
    return z.transpose(2, 3).reshape(z.shape)


REVERSED = of_heads(lambda heads: heads.flip(2))


def point(name: str) -> Any:
    return lambda points: points[name]


# The joint projection, which is split; rotated queries, where attention is left to transformers.
DEAD, DEAD_IN_GPTJ = point("blocks.0.attn.qkv.hook_out"), point("blocks.0.attn.hook_rot_q")

CONTENTS = (
    Mutant(
        "hook-point-holds-what-the-run-before-had",
        "What is computed for hooks is kept between runs.",
        anew(lambda: of_the_run_before("blocks.0.mlp.in.hook_out")),
        of(HELD),
        "blocks.0.mlp.in.hook_out for other tokens",
    ),
    Mutant(
        "residual-stream-is-flat",
        "A mixture of experts works on [batch * position, d_model] and its block hooks it like that.",
        shows(
            "blocks.0.hook_out", lambda value: value.flatten(0, 1), lambda out: out.view(2, -1, 12)
        ),
        of("shapes-are-those-that-names-promise"),
        "blocks.0.hook_out",
    ),
    Mutant(
        "residual-stream-has-positions-first",
        "A model of [position, batch, d_model] inside, as ChatGLM's first is.",
        shows("blocks.0.hook_out", lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1)),
        of("shapes-are-those-that-names-promise", HELD),
        "blocks.0.hook_out",
    ),
    Mutant(
        "heads-of-queries-are-reversed",
        "A joint projection is split head by head where it is split part by part.",
        shows("blocks.0.attn.hook_q", REVERSED, REVERSED),
        of(MEET),
        "blocks.0.attn.hook_q",
    ),
    Mutant(
        "queries-and-keys-are-swapped",
        "A joint projection of queries, keys and values is read in another order.",
        named(
            blocks__0__attn__hook_q=point("blocks.0.attn.hook_k"),
            blocks__0__attn__hook_k=point("blocks.0.attn.hook_q"),
        ),
        of(MEET),
        "blocks.0.attn.hook_k",
    ),
    Mutant(
        "heads-of-z-are-transposed",
        "z is viewed as [head, d_head] before [batch, head, position] is turned round.",
        shows("blocks.0.attn.hook_z", of_heads(heads_mixed)),
        of(Z, HELD),
        "blocks.0.attn.hook_z",
    ),
    Mutant(
        "heads-of-values-are-reversed",
        "Groups of key-value heads are counted from the other end.",
        shows("blocks.0.attn.hook_v", REVERSED, REVERSED),
        of(Z, HELD),
        "blocks.0.attn.hook_z",
        of="llama",
    ),
    Mutant(
        "scores-are-probabilities",
        "Attention left to transformers gives weights alone; they are hooked as scores too.",
        shows("blocks.0.attn.hook_attn_scores", lambda scores: scores.softmax(-1)),
        of(SOFTMAX),
        "blocks.0.attn.hook_pattern",
    ),
    Mutant(
        "scores-are-shown-before-their-scale",
        "Scores are hooked before they are divided by the root of the head's size.",
        shows("blocks.0.attn.hook_attn_scores", lambda scores: scores * 2),
        of(SOFTMAX),
        "blocks.0.attn.hook_pattern",
    ),
    Mutant(
        "pattern-does-not-sum-to-one",
        "The pattern is hooked before it is divided by its sum.",
        shows("blocks.0.attn.hook_pattern", lambda pattern: pattern * 2),
        of("the-pattern-sees-nothing-that-comes-later", SOFTMAX),
        "blocks.0.attn.hook_pattern over keys",
    ),
    Mutant(
        "pattern-is-shown-key-by-query",
        "Queries and keys are transposed in the pattern.",
        shows("blocks.0.attn.hook_pattern", lambda x: x.transpose(2, 3), lambda x: x.mT),
        of("the-pattern-sees-nothing-that-comes-later", SOFTMAX),
        "blocks.0.attn.hook_pattern at later keys",
        of="llama",
    ),
    Mutant(
        "mlp-output-is-shown-after-the-sum",
        "The MLP's output is hooked where it has been added to the stream.",
        anew(after_the_sum),
        of(HELD, SUM),
        "blocks.0.mlp.hook_out",
    ),
    Mutant(
        "mlp-output-is-hooked-before-its-norm",
        "Gemma-2's hook_mlp_out stood before the norm after the MLP.",
        named(blocks__0__hook_mlp_out=point("blocks.0.ln2_post.hook_in")),
        of(SUM, "an-edit-of-a-part-moves-the-sum-by-as-much"),
        "blocks.0.hook_resid_post",
        of="gemma2",
    ),
    Mutant(
        "attention-output-is-hooked-before-its-norm",
        "Gemma-2's hook_attn_out stood before the norm after the attention.",
        named(blocks__0__hook_attn_out=point("blocks.0.attn.hook_out")),
        of(SUM, MIDDLE),
        "blocks.0.hook_resid_post",
        of="gemma2",
    ),
    Mutant(
        "middle-of-the-stream-is-normed",
        "hook_resid_mid is bound to the output of the norm that reads it.",
        named(blocks__0__hook_resid_mid=point("blocks.0.ln2.hook_out")),
        of(MIDDLE),
        "blocks.0.hook_resid_mid",
    ),
    Mutant(
        "middle-of-the-stream-is-its-beginning",
        "hook_resid_mid is bound to the first norm's input, as in a parallel block.",
        named(blocks__0__hook_resid_mid=point("blocks.0.ln1.hook_in")),
        of(MIDDLE),
        "blocks.0.hook_resid_mid",
    ),
    Mutant(
        "end-of-the-stream-is-its-middle",
        "hook_resid_post is read before the MLP's output is added.",
        named(blocks__0__hook_resid_post=point("blocks.0.ln2.hook_in")),
        of(SUM, "an-edit-of-a-part-moves-the-sum-by-as-much"),
        "blocks.0.hook_resid_post",
        of="llama",
    ),
    Mutant(
        "name-belongs-to-the-layer-before",
        "Layers are counted from one in one place and from zero in another.",
        named(blocks__1__hook_resid_pre=point("blocks.0.hook_in")),
        of(SUM),
        "blocks.1.hook_resid_post",
        layers=2,
    ),
    Mutant(
        "name-of-the-stream-never-fires",
        "A name from the old model is bound to a hook point that nothing calls.",
        named(blocks__0__hook_resid_post=DEAD),
        of(FIRES),
        "blocks.0.hook_resid_post",
    ),
    Mutant(
        "name-of-a-part-never-fires",
        "The same for what the attention adds.",
        named(blocks__0__hook_attn_out=DEAD_IN_GPTJ),
        of(FIRES),
        "blocks.0.hook_attn_out",
        of="gptj",
    ),
    Mutant(
        "name-of-z-never-fires",
        "The same inside attention, where checks compare what is there.",
        named(blocks__0__attn__hook_z=DEAD),
        of("scores-pattern-values-and-z-are-there"),
        "blocks.0.attn.hook_z",
    ),
)
