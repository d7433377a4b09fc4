"""Open what a study reads: a model, dictionaries, concepts and background text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl_ext import upstream
from tl_ext.activations.digests import contents, digest, sha
from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary, forward_order
from tl_ext.dictionaries.loading import load_dictionaries
from tl_ext.errors import DictionaryError, InputError
from tl_ext.models.hook_points import kind_of, layer_of
from tl_ext.models.loading import TESTBED_NAMES, Processing, load_model
from tl_ext.study.plan import ConceptLabel, DictionaryLabel, Plan

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FOCUS = 7 / 12  # The exploration looks at layer 7 of 12.
FOCUS_KINDS = ("resid_pre", "resid_post")  # what can be steered, before what cannot
SAMPLED_TEXTS = 400
BACKGROUND_TOKENS = 256  # bounds memory; what dictionaries of small models were trained on


@dataclass(frozen=True, eq=False, repr=False)
class Session:
    """Everything that runs, and the plan that names it.

    Attributes:
        model: The hooked model.
        dictionaries: By id, in the order of the forward pass.
        concepts: In the plan's order.
        background: Texts that latents' firing rates are measured on.
        plan: Their names.
        batch_size: Texts in a forward pass.
        progress: Whether bars are shown.
        matched: For each language, words that fit the concepts' texts and say nothing like them, each
            as a concept of its own: what happens at many such words is what chance does.
    """

    model: TransformerBridge
    dictionaries: Dictionaries
    concepts: tuple[Concept, ...]
    background: tuple[str, ...]
    plan: Plan
    batch_size: int = 32
    progress: bool = True
    matched: tuple[Concept, ...] = ()

    def __repr__(self) -> str:
        plan = self.plan
        return (
            f"<Session of {plan.model}: {len(self.dictionaries)} dictionaries, focus {plan.focus}; "
            f"{', '.join(one.label for one in plan.concepts)}; background: {plan.background}>"
        )

    def bar(self, label: str) -> str | None:
        """The label of a progress bar, or None where bars are off."""
        return label if self.progress else None

    def key(self) -> dict[str, object]:
        """Everything that results depend on, as JSON values."""
        texts = [
            [concept.name, concept.language, [[one.text, one.word] for one in group]]
            for concept in (*self.concepts, *self.matched)
            for group in (concept.examples, concept.controls)
        ]
        sampled = [*(one.text for each in self.concepts for one in each.examples), *self.background]
        return {
            "versions": upstream.versions(),
            "model": digest(self.model.named_parameters()),
            "dictionaries": {id: digest(contents(one)) for id, one in self.dictionaries.items()},
            "tokenizer": sha(repr(self.model.tokenizer(sampled)["input_ids"])),
            "texts": sha(repr(texts)),
            "background": sha(repr(self.background)),
            "plan": self.plan.as_json(),
        }


def open_session(
    *,
    model: str | Path = "testbed",
    dictionaries: str | Path | Sequence[str | Path] = (),
    concepts: Sequence[Concept] | Path | None = None,
    background: Path | Sequence[str] | None = None,
    matched: Sequence[Concept] | None = None,
    languages: Sequence[str] | None = None,
    layer: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Session:
    """Open what a study reads.

    Args:
        model: A hub name, a folder, or "testbed" for the model shipped with this package.
        dictionaries: One source or several, see
            [`load_dictionaries`][tl_ext.dictionaries.loading.load_dictionaries]. Empty: the shipped
            ones, for the shipped model only.
        concepts: Concepts, or a YAML file of them. None: the exploration's happy, sad and excited.
        background: A text file, one text a line, or texts. None: sampled from the model itself.
        matched: Words that fit the concepts' texts and say nothing like them, each as a concept of its
            own. None: those of the YAML file where it lists some, else the built-in ones, see
            [`built_in`][tl_ext.concepts.matched.built_in].
        languages: Which languages of the built-in concepts. None: English and French, and Chinese
            where the model's card lists it.
        layer: The layer that single-layer figures are drawn for. None: the one at 7/12 of the depth,
            as layer 7 was for the exploration.
        seed: Of everything random.
        batch_size: Texts in a forward pass.
        device: Where the model runs. None: a GPU where there is one.
        trust_remote_code: Passed to transformers as it is.
        progress: Whether bars are shown.

    Raises:
        InputError: No dictionaries for a model that ships none, an empty background, an unknown
            language or layer.
        DictionaryError: A dictionary that does not load, or dictionaries trained on differently
            processed models.
    """
    hooked, loaded = open_model(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    chosen = _concepts(concepts, languages, model)
    _each_once(chosen)  # before sampling, which takes a while
    texts, described = background_texts(background, hooked, seed=seed, progress=progress)
    return session_of(
        hooked,
        loaded,
        chosen,
        texts,
        matched=_matched(matched, chosen, concepts),
        name=str(model),
        described=described,
        layer=layer,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )


def session_of(
    model: TransformerBridge,
    dictionaries: Dictionaries,
    concepts: Sequence[Concept],
    background: Sequence[str],
    *,
    matched: Sequence[Concept] = (),
    name: str = "",
    described: str = "",
    layer: int | None = None,
    top: int = 3,
    over_tokens: str = "sum",
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> Session:
    """What is open already as a session, with the plan that names it.

    Args:
        model: A hooked model.
        dictionaries: In the order of the forward pass.
        concepts: Each label once.
        background: Texts.
        matched: As for `open_session`.
        name: Of the model.
        described: What the background is, in words.
        layer: As for `open_session`.
        top: How many latents count as a concept's strongest.
        over_tokens: How the tokens of a word are joined.
        seed: Of everything random.
        batch_size: Texts in a forward pass.
        progress: Whether bars are shown.

    Raises:
        InputError: A concept twice, or no dictionary at the layer.
    """
    _each_once(concepts)
    return Session(
        model=model,
        dictionaries=dictionaries,
        concepts=tuple(concepts),
        background=tuple(background),
        plan=Plan(
            model=name,
            dictionaries=tuple(_label(id, one) for id, one in dictionaries.items()),
            concepts=labels_of(concepts),
            matched=labels_of(matched),
            focus=_focus(dictionaries, int(model.cfg.n_layers), layer),
            top=top,
            seed=seed,
            over_tokens=over_tokens,
            background=described,
            max_tokens=min(int(model.cfg.n_ctx), BACKGROUND_TOKENS),
        ),
        batch_size=batch_size,
        progress=progress,
        matched=tuple(matched),
    )


def _each_once(concepts: Sequence[Concept]) -> None:
    labels = [one.label for one in concepts]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(
            f"{', '.join(twice)} is given more than once; join the examples in one concept."
        )


def open_model(
    model: str | Path,
    dictionaries: str | Path | Sequence[str | Path] = (),
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[TransformerBridge, Dictionaries]:
    """A model and its dictionaries, the model processed as they were trained.

    Args:
        model: A hub name, a folder, or "testbed".
        dictionaries: One source or several; empty: the shipped ones, for the shipped model only.
        device: Where both run. None: a GPU where there is one.
        trust_remote_code: Passed to transformers as it is.

    Raises:
        InputError: No dictionaries for a model that ships none.
        DictionaryError: A dictionary that does not load, or dictionaries trained on differently
            processed models.
    """
    if not dictionaries and str(model) not in TESTBED_NAMES:
        raise InputError(
            f"Which dictionaries belong to {model}? Name at least one source, such as "
            "saelens://gpt2-small-res-jb or a folder that SAELens saved."
        )
    sources = [dictionaries] if isinstance(dictionaries, (str, Path)) else list(dictionaries)
    loaded = load_dictionaries(*(sources or ["testbed://"]))
    hooked = load_model(
        model,
        device=device,
        processing=_processing(loaded),
        trust_remote_code=trust_remote_code,
    )
    where = str(hooked.cfg.device or "cpu")
    if where != "cpu":
        # Only now is it known where the model went.
        loaded = load_dictionaries(*(sources or ["testbed://"]), device=where)
    ordered = sorted(loaded.values(), key=lambda one: forward_order(one.hook_in, one.id))
    return hooked, Dictionaries(ordered)


def _processing(dictionaries: Dictionaries) -> Processing:
    """The weight processing that the dictionaries were trained under."""
    stated = {id: one.processing for id, one in dictionaries.items() if one.processing is not None}
    if len(set(stated.values())) > 1:
        told = ", ".join(f"{id}: {processing}" for id, processing in stated.items())
        raise DictionaryError(
            "These dictionaries were trained on differently processed models and fit no single one "
            f"({told}). Study them apart."
        )
    return next(iter(stated.values()), Processing.RAW)


def _concepts(
    given: Sequence[Concept] | Path | None, languages: Sequence[str] | None, model: str | Path
) -> tuple[Concept, ...]:
    from tl_ext.concepts import emotions
    from tl_ext.concepts.loading import load_concepts

    if isinstance(given, (str, Path)):
        chosen: Sequence[Concept] = load_concepts(given)
    elif given is not None:
        chosen = given
    else:
        chosen = emotions.concepts(languages=tuple(languages or _card_languages(model)))
    if not chosen:
        raise InputError("There are no concepts to study.")
    if languages is not None and given is not None:
        chosen = [one for one in chosen if one.language in languages]
        if not chosen:
            raise InputError(f"None of the concepts is said in {', '.join(languages)}.")
    return tuple(chosen)


def _matched(
    given: Sequence[Concept] | None,
    concepts: Sequence[Concept],
    source: Sequence[Concept] | Path | None,
) -> tuple[Concept, ...]:
    from tl_ext.concepts.loading import load_matched
    from tl_ext.concepts.matched import built_in

    if given is None and isinstance(source, (str, Path)):
        given = load_matched(source) or None
    languages = {one.language for one in concepts}
    chosen = built_in(concepts) if given is None else given
    return tuple(one for one in chosen if one.language in languages)


def labels_of(concepts: Sequence[Concept]) -> tuple[ConceptLabel, ...]:
    """Concepts as a plan names them."""
    return tuple(
        ConceptLabel(one.name, one.language, len(one.examples), len(one.controls))
        for one in concepts
    )


def _card_languages(model: str | Path) -> tuple[str, ...]:
    """English and French, and Chinese where the model's card lists it."""
    import yaml

    languages = ["en", "fr"]
    card = _card(model)
    if card is not None and card.is_file():
        parts = card.read_text(encoding="utf-8").split("---")
        try:
            head = yaml.safe_load(parts[1]) if len(parts) > 2 else None
        except yaml.YAMLError:
            head = None
        listed = head.get("language") if isinstance(head, dict) else None
        if "zh" in ([listed] if isinstance(listed, str) else listed or []):
            languages.append("zh")
    return tuple(languages)


def _card(model: str | Path) -> Path | None:
    """The model card in the model's folder or, where the hub can be reached, on the hub."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder / "README.md"
    if str(model) in TESTBED_NAMES:
        return None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(model), "README.md"))
    except (OSError, ValueError):
        # Unreachable, or no such card: nothing is listed.
        return None


def background_texts(
    given: Path | Sequence[str] | None,
    model: TransformerBridge,
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[tuple[str, ...], str]:
    """Background texts, and in words what they are.

    Args:
        given: A text file, one text a line, or texts; None: sampled from the model itself.
        model: Samples, where nothing is given.
        seed: Of the sampling.
        progress: Show a bar.

    Raises:
        InputError: No such file, or no text.
    """
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        if not path.is_file():
            raise InputError(f"There is no background file {path}.")
        lines = path.read_text(encoding="utf-8").splitlines()
        texts = tuple(line for line in lines if line.strip())
        described = f"{len(texts)} lines of {path.name}"
    elif given is not None:
        texts = tuple(text for text in given if text.strip())
        described = f"{len(texts)} texts the caller gave"
    else:
        from tl_ext.testbed.background import sample_background

        texts = tuple(sample_background(model, SAMPLED_TEXTS, seed=seed, progress=progress))
        described = f"{len(texts)} texts sampled from the model itself (seed {seed})"
    if not texts:
        raise InputError("The background holds no text.")
    return texts, described


def _focus(dictionaries: Dictionaries, layers: int, layer: int | None) -> str:
    """The dictionary single-layer figures are drawn for: of the residual stream where there is one."""
    residual = [id for id, one in dictionaries.items() if kind_of(one.hook_in) in FOCUS_KINDS]
    candidates = residual or list(dictionaries)
    wanted = round(FOCUS * layers) if layer is None else layer
    at = {id: layer_of(dictionaries[id].hook_in) for id in candidates}
    if layer is not None and layer not in at.values():
        raise InputError(
            f"No dictionary reads layer {layer}; there are dictionaries at layers "
            f"{sorted({one for one in at.values() if one is not None})}."
        )
    return min(candidates, key=lambda id: abs((at[id] or 0) - wanted))


def _label(id: str, dictionary: Dictionary) -> DictionaryLabel:
    layer = layer_of(dictionary.hook_in)
    return DictionaryLabel(
        id=id,
        hook_point=dictionary.hook_in,
        layer=-1 if layer is None else layer,
        kind=kind_of(dictionary.hook_in),
        d_latent=dictionary.d_latent,
        neuronpedia=dictionary.neuronpedia_id or "",
    )
