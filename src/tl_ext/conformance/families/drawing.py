"""Tiny configs of a family, drawn from a table of what its config calls things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tl_ext.conformance.families.known import known_of
from tl_ext.conformance.spec import DEFAULT, ConformanceSpec, Known

if TYPE_CHECKING:
    from tl_ext.conformance.checking import Capability

Draw = Callable[[Any], Any]

VOCABULARY = 61
CONTEXT = 32

NO_PLAIN_VALUES: frozenset[Capability] = DEFAULT - {"plain-values"}
"""What a decoder can do that gates, norms or clips what its heads give, or the values."""

PARALLEL: frozenset[Capability] = DEFAULT - {"sequential-block"} | {"parallel-block"}
"""What a decoder can do whose MLP reads what its attention reads."""

POST_NORM: frozenset[Capability] = DEFAULT | {"post-norm"}
"""What a decoder can do that norms what a block adds."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one tiny model.

    Attributes:
        layers: Of blocks.
        shared: Of key-value heads.
        heads: Of heads; each key-value head serves as many.
        head: The width of a head; even, for rotary embeddings.
        width: Of the residual stream.
    """

    layers: int
    shared: int
    heads: int
    head: int
    width: int


@dataclass(frozen=True)
class Words:
    """What a config calls the sizes; None for what it has no word for.

    Attributes:
        layers: Number of blocks.
        width: Of the residual stream.
        heads: Number of heads.
        mlp: Width of the MLP.
        shared: Number of key-value heads; None where each head has its own.
        head: Width of a head; None where it is the stream's width over the heads.
        positions: The longest context.
    """

    layers: str = "num_hidden_layers"
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    mlp: str | None = "intermediate_size"
    shared: str | None = "num_key_value_heads"
    head: str | None = None
    positions: str | None = "max_position_embeddings"


LLAMA = Words()
WIDE_HEADS = Words(head="head_dim")
OWN_KEYS = Words(shared=None)
GPT2 = Words("n_layer", "n_embd", "n_head", "n_inner", None, None, "n_positions")


@dataclass(frozen=True)
class Either:
    """One of some values, the simplest first."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class EachLayer:
    """A list with one of some values for each layer, the simplest first."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Of:
    """A value that follows from the sizes."""

    value: Callable[[Sizes], Any]


def either(*values: Any) -> Either:
    """One of some values.

    Args:
        values: The simplest first.
    """
    return Either(values)


def each_layer(*values: Any) -> EachLayer:
    """A list with one of some values for each layer.

    Args:
        values: The simplest first.
    """
    return EachLayer(values)


TIED = either(False, True)
ACTIVATIONS = either("silu", "gelu_new", "relu")
WINDOWS = either(None, 3)
WINDOW_KINDS = each_layer("full_attention", "sliding_attention")


def family(
    architecture: str,
    config: str,
    words: Words = LLAMA,
    *,
    can: frozenset[Capability] = DEFAULT,
    known: Mapping[str, str | Known] = MappingProxyType({}),
    **settings: Any,
) -> ConformanceSpec:
    """The spec of an architecture whose config is made of sizes and settings.

    Args:
        architecture: As checkpoints name it.
        config: The config's class, in transformers.
        words: What the config calls the sizes.
        can: What its models are claimed to do.
        known: By check, why it is known to fail, besides what fails everywhere.
        settings: What else the config is given: values, or what draws or computes them.
    """

    def draw_config(draw: Draw) -> Any:
        import transformers

        sizes = drawn_sizes(draw, words)
        given = {"vocab_size": VOCABULARY, **_named(sizes, words)}
        given |= {name: _drawn(draw, value, sizes) for name, value in settings.items()}
        return getattr(transformers, config)(**_tokens(draw), **given)

    return ConformanceSpec(architecture, draw_config, can, known_of(can, known))


def drawn_sizes(draw: Draw, words: Words) -> Sizes:
    """Sizes, the smallest first.

    Args:
        draw: Hypothesis' own.
        words: Which of them the config has.
    """
    from hypothesis import strategies as st

    layers = draw(st.integers(1, 3))
    shared = draw(st.integers(1, 3))
    # Without a word for key-value heads `shared` is the number of heads.
    heads = shared * draw(st.integers(1, 3)) if words.shared else shared
    width = heads * draw(st.sampled_from((8, 4)))
    head = draw(st.sampled_from((4, 6))) if words.head else width // heads
    return Sizes(layers, shared, heads, head, width)


def _named(sizes: Sizes, words: Words) -> dict[str, int]:
    named = {
        words.layers: sizes.layers,
        words.width: sizes.width,
        words.heads: sizes.heads,
        words.mlp: sizes.width + 4,
        words.shared: sizes.shared,
        words.head: sizes.head,
        words.positions: CONTEXT,
    }
    return {name: size for name, size in named.items() if name is not None}


def _tokens(draw: Draw) -> dict[str, int]:
    """Ids of the tokens that are not text: each its own, or, as in GPT-2, one for all."""
    from hypothesis import strategies as st

    bos, eos, pad = draw(st.sampled_from(((1, 2, 0), (2, 2, 2))))
    return {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}


def _drawn(draw: Draw, value: Any, sizes: Sizes) -> Any:
    from hypothesis import strategies as st

    if isinstance(value, Either):
        return draw(st.sampled_from(value.values))
    if isinstance(value, EachLayer):
        return [draw(st.sampled_from(value.values)) for _ in range(sizes.layers)]
    return value.value(sizes) if isinstance(value, Of) else value
