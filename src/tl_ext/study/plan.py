"""What a study is about, in names and numbers only.

Tables and figures are made from tensors and a plan, so they can be made again, and tested, without a
model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from tl_ext.errors import InputError
from tl_ext.models.hook_points import kind_of, layer_of


def latent_name(hook_point: str, latent: int) -> str:
    """A latent as figures name it: `L7 #2392` in the residual stream, `L7 z #14` elsewhere."""
    layer, kind = layer_of(hook_point), kind_of(hook_point)
    if layer is None:
        return f"{hook_point} #{latent}"
    return f"L{layer} #{latent}" if kind.startswith("resid") else f"L{layer} {kind} #{latent}"


@dataclass(frozen=True)
class DictionaryLabel:
    """A dictionary as tables and figures name it.

    Attributes:
        id: Its id among the study's dictionaries.
        hook_point: What it reads.
        layer: The layer of that hook point; -1 outside the blocks.
        kind: What the hook point holds: "resid_pre", "z", "mlp_out", ...
        d_latent: How many latents it has.
        neuronpedia: Its name on Neuronpedia, or the empty string.
    """

    id: str
    hook_point: str
    layer: int
    kind: str
    d_latent: int
    neuronpedia: str = ""


@dataclass(frozen=True)
class ConceptLabel:
    """A concept in one language as tables and figures name it.

    Attributes:
        name: The concept: "happy".
        language: Its language: "en".
        examples: How many texts say it.
        controls: How many control texts there are.
    """

    name: str
    language: str
    examples: int
    controls: int

    @property
    def label(self) -> str:
        """As figures show it: `happy (en)`."""
        return f"{self.name} ({self.language})"


@dataclass(frozen=True)
class Plan:
    """What a study is about.

    Attributes:
        model: The model's name.
        dictionaries: In the order in which a forward pass reaches them.
        concepts: In the order given.
        matched: Words beside them that are no such concept, each a concept of its own, see
            [`Session`][tl_ext.study.session.Session].
        focus: The id of the dictionary that single-layer figures are drawn for.
        top: How many latents count as a concept's strongest.
        contrast: How many random live latents stand beside them in similarity figures.
        seed: Of everything random.
        over_tokens: How the tokens of a word are joined.
        background: What the background text is, in words.
        max_tokens: Background texts are cut to this many tokens, prefix included.
    """

    model: str
    dictionaries: tuple[DictionaryLabel, ...]
    concepts: tuple[ConceptLabel, ...]
    focus: str
    top: int = 3
    contrast: int = 6
    seed: int = 0
    over_tokens: str = "sum"
    background: str = ""
    max_tokens: int = 256
    matched: tuple[ConceptLabel, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, DictionaryLabel]:
        """Dictionaries by their id."""
        return {one.id: one for one in self.dictionaries}

    @property
    def residual(self) -> tuple[DictionaryLabel, ...]:
        """The dictionaries of the residual stream."""
        return self.of_kind("resid_pre", "resid_mid", "resid_post")

    @property
    def attention(self) -> tuple[DictionaryLabel, ...]:
        """The dictionaries of attention outputs."""
        return self.of_kind("z", "attn_out")

    @property
    def by_kind(self) -> dict[str, tuple[DictionaryLabel, ...]]:
        """The dictionaries by what their hook points hold, in words; kinds without any are left out."""
        parts = {
            "attention": self.attention,
            "MLP": self.of_kind("mlp_out"),
            "residual stream": self.residual,
        }
        named = {one.id for part in parts.values() for one in part}
        for one in self.dictionaries:
            if one.id not in named:
                parts[one.kind] = (*parts.get(one.kind, ()), one)
        return {name: part for name, part in parts.items() if part}

    def of_kind(self, *kinds: str) -> tuple[DictionaryLabel, ...]:
        """The dictionaries whose hook points hold one of these."""
        return tuple(one for one in self.dictionaries if one.kind in kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts' names, each once."""
        return tuple(dict.fromkeys(one.name for one in self.concepts))

    @property
    def languages(self) -> tuple[str, ...]:
        """The concepts' languages, each once."""
        return tuple(dict.fromkeys(one.language for one in self.concepts))

    def concept(self, name: str, language: str) -> ConceptLabel:
        """One concept in one language.

        Raises:
            InputError: The study does not have it.
        """
        for one in self.concepts:
            if (one.name, one.language) == (name, language):
                return one
        raise InputError(
            f"The study has no concept {name!r} in {language!r}; it has "
            f"{', '.join(one.label for one in self.concepts)}."
        )

    def in_language(self, language: str) -> tuple[ConceptLabel, ...]:
        """The concepts said in one language."""
        return tuple(one for one in self.concepts if one.language == language)

    def as_json(self) -> dict[str, object]:
        """The plan as JSON values."""
        return asdict(self)
