"""Our own hook implementations, by the road every plugin takes. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.hookspecs import hookimpl
from tl_ext.plugins.known_fixes import FIXES
from tl_ext.plugins.specs import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    Family,
    FixSpec,
    ScorerSpec,
    Verification,
)

_CHATGLM = Family(
    name="ChatGLM",
    checkpoints=(
        "chatglm2-6b",
        "chatglm3-6b (-base, -32k, -128k)",
        "codegeex2-6b",
        "glm-4-9b (-chat, -chat-1m) in its original layout",
        "LongWriter-glm4-9b",
        "codegeex4-all-9b",
    ),
    refused=(
        "ChatGLM-6B of the first generation",
        "P-tuning",
        "quantised checkpoints",
        "vision (glm-4v, cogagent)",
        "LayerNorm, no final norm, residual after the norm, biases on the other linear layers",
        "ChatGLMForSequenceClassification",
    ),
    tokenizer="[gMASK] and sop before a text, no BOS, padding on the left",
)


def _chatglm(architecture: str) -> AdapterSpec:
    """The same model under either of the names that published checkpoints give it."""
    tests = "tests/models/chatglm"
    return AdapterSpec(
        architecture=architecture,
        adapter="tl_ext.models.chatglm.adapter:ChatGLMArchitectureAdapter",
        register="tl_ext.models.chatglm.registration:register",
        fixes=("multi-token-prefix",),
        verified=(
            Verification(
                "golden file",
                "what every hook point holds, raw and in compatibility mode, padded and gapped "
                "positions, greedy decoding, 1e-4",
                f"{tests}/test_bridge.py",
            ),
            Verification(
                "golden file",
                "ids, decoded text, padded batches and chats of the original tokenizer, exactly",
                f"{tests}/test_tokenizer_golden.py",
            ),
            Verification(
                "transformers",
                "the effect of an edit at each hook point, 1e-4",
                f"{tests}/test_edits.py",
            ),
            Verification(
                "transformers",
                "weights of drawn configurations against GLM's laid out by hand, exactly",
                f"{tests}/test_native.py",
            ),
            Verification(
                "property suite",
                "drawn checkpoints against an independent implementation: what each hook point holds and "
                "what an edit there does, 1e-4",
                f"{tests}/test_hooks_against_reference.py",
            ),
        ),
        family=_CHATGLM,
    )


_QWEN2 = Family(
    name="Qwen2",
    checkpoints=("reward models", "classifiers", "token classifiers", "embedders", "rerankers"),
    refused=("weight processing: there is no unembedding to fold the final norm into",),
    tokenizer="nothing before a text; eos <|im_end|>, pad <|endoftext|>, ChatML template",
)


def _qwen2(architecture: str, adapter: str, shows: str) -> AdapterSpec:
    """One of Qwen2's classes without a language head; upstream has the causal model."""
    return AdapterSpec(
        architecture=architecture,
        adapter=f"tl_ext.models.qwen2:{adapter}",
        fixes=("head-architectures-boot-as-causal-lm", "rotary-base-not-read"),
        verified=(
            Verification("transformers", f"{shows}, 1e-5", "tests/models/qwen2/test_heads.py"),
            Verification(
                "property suite",
                "drawn configurations of the layers they share with the causal model: logits, patterns, "
                "q, k, v, z, residual stream, edits",
                "tests/models/qwen2/test_causal.py",
            ),
        ),
        family=_QWEN2,
    )


# One row per architecture upstream lacks; with upstream's own adapter, one it has and we verified.
ADAPTERS: tuple[AdapterSpec, ...] = (
    _chatglm("ChatGLMModel"),
    _chatglm("ChatGLMForConditionalGeneration"),
    AdapterSpec(
        architecture="Qwen2ForCausalLM",
        adapter="transformer_lens.model_bridge.supported_architectures.qwen2:Qwen2ArchitectureAdapter",
        fixes=("rotary-base-not-read",),
        verified=(
            Verification(
                "property suite",
                "drawn configurations against transformers: logits, patterns, q, k, v, z, residual "
                "stream, edits, 2e-4",
                "tests/models/qwen2/test_causal.py",
            ),
            Verification(
                "transformers",
                "the sizes of Qwen2, Qwen2.5 and QwQ by their published configs",
                "tests/models/qwen2/test_sizes.py",
            ),
        ),
        family=Family(
            name="Qwen2",
            checkpoints=("Qwen2", "Qwen2.5", "QwQ-32B"),
            tokenizer=_QWEN2.tokenizer,
        ),
    ),
    _qwen2(
        "Qwen2ForSequenceClassification",
        "Qwen2SequenceClassificationAdapter",
        "class scores of padded batches",
    ),
    _qwen2(
        "Qwen2ForTokenClassification",
        "Qwen2TokenClassificationAdapter",
        "token scores of padded batches",
    ),
    _qwen2("Qwen2Model", "Qwen2ModelAdapter", "hidden states of padded batches"),
)


def _analysis(
    name: str, title: str, caption: str, *needs: str, settings: str | None = None
) -> AnalysisSpec:
    """One of ours: a module of tl_ext.study.analyses with collect, tabulate and draw."""
    module = f"tl_ext.study.analyses.{name}"
    return AnalysisSpec(
        name=name,
        title=title,
        needs=needs,
        collect=f"{module}:collect",
        tabulate=f"{module}:tabulate",
        draw=f"{module}:draw",
        caption=caption,
        settings=None if settings is None else f"{module}:{settings}",
    )


# One row per analysis of the study, in the order of the page.
ANALYSES: tuple[AnalysisSpec, ...] = (
    _analysis(
        "dictionary_quality",
        "How far the dictionaries can be trusted",
        "What a dictionary leaves unexplained, none of the following can see.",
        settings="settings",
    ),
    _analysis(
        "background",
        "Background",
        "What every latent does on background text.",
        settings="settings",
    ),
    _analysis(
        "readings",
        "Readings",
        "Every latent at every concept's words and on background text.",
        "background",
    ),
    _analysis(
        "concept_activations",
        "Features of a concept",
        "Which latents fire at the words that say each concept, and how strongly?",
        "readings",
    ),
    _analysis(
        "latent_examples",
        "What these latents are elsewhere",
        "On which texts is each concept's latent highest, how often does it fire, and how strongly?",
        "background",
        "readings",
    ),
    _analysis(
        "shared_features",
        "Shared and private features",
        "What do two concepts share, once what their sentences share is taken out?",
        "readings",
    ),
    _analysis(
        "feature_similarity",
        "How alike features are, within a layer and across layers",
        "Do latents that fire on one concept point the same way, and does a latent of one layer have "
        "a counterpart in another?",
        "readings",
    ),
    _analysis(
        "similarity_null",
        "Are they more alike than at any other word?",
        "Latents chosen because they fire at one word are alike even with random decoders. So the same "
        "choice is made at many other words, about as frequent, in the same sentences.",
        settings="settings",
    ),
    _analysis(
        "counterparts",
        "The same latent in another layer",
        "Has a latent a counterpart in every other layer, and is it more than the largest of many?",
        "readings",
        "similarity_null",
        settings="settings",
    ),
    _analysis(
        "layers",
        "Layers: three claims as tests",
        "Do counterparts exist, are nearby layers more alike, and is the first layer less alike?",
        "counterparts",
    ),
    _analysis(
        "dictionary_matching",
        "One layer's dictionary in the next",
        "How many latents have a counterpart in the next layer's dictionary, beyond what chance gives?",
        settings="settings",
    ),
    _analysis(
        "token_probabilities",
        "Does the model know the language?",
        "How probable the tokens of the exploration's sentence are, in French and in English.",
        settings="settings",
    ),
    _analysis(
        "languages",
        "One concept in two languages",
        "Which latents fire on the word in both languages, in the residual stream and in attention?",
        "concept_activations",
    ),
    _analysis(
        "crosslingual",
        "Features of two languages, and of one",
        "Which latents belong to a concept in two languages, are they more than two words share by "
        "chance, and are they in attention?",
        "readings",
        "similarity_null",
        settings="settings",
    ),
    _analysis(
        "ablation_effects",
        "What weakly shared features do",
        "Do latents that fire weakly in both languages do anything, alone, together, or together with "
        "the strong ones?",
        "readings",
        "crosslingual",
        settings="settings",
    ),
    _analysis(
        "steering",
        "Steering one language with features of another",
        "A direction is added at every token but the first positions, in the language it was found in and "
        "in the others, beside its reverse, random directions, a difference of means and the opposite "
        "concept.",
        "readings",
        settings="settings",
    ),
)

DICTIONARY_SOURCES: tuple[DictionarySourceSpec, ...] = (
    DictionarySourceSpec(
        scheme="saelens",
        open="tl_ext.dictionaries.saelens:open_release",
        description="a release in SAELens' registry, as saelens://RELEASE",
    ),
    DictionarySourceSpec(
        scheme="folder",
        open="tl_ext.dictionaries.loading:open_folder",
        description="a local folder of dictionaries in SAELens' format; a plain path means this",
    ),
    DictionarySourceSpec(
        scheme="testbed",
        open="tl_ext.dictionaries.loading:open_testbed",
        description="the dictionaries of the shipped bilingual model, as testbed://",
    ),
)


def _scorer(
    name: str, description: str, *, mapped: str | None = None, higher: bool = True
) -> ScorerSpec:
    """One of ours: a function of its name in tl_ext.steering.scores."""
    module = "tl_ext.steering.scores"
    return ScorerSpec(
        name=name,
        score=f"{module}:{name}",
        description=description,
        map_to_unit=mapped and f"{module}:{mapped}",
        higher_is_better=higher,
    )


SCORERS: tuple[ScorerSpec, ...] = (
    _scorer(
        "concept",
        "log-probability, in nats, of the words behind word_log_probs= after the prompt; mapped: their "
        "probability",
        mapped="concept_to_unit",
    ),
    _scorer(
        "fluency",
        "mean log-probability per token under the unsteered model, in nats; mapped: 1 / perplexity",
        mapped="fluency_to_unit",
    ),
    _scorer("diversity", "share of distinct token n-grams (n=2) within a continuation, 0 to 1"),
    _scorer(
        "language_kept",
        "probability that a continuation is in the language expected=, or its prompt's, among=",
    ),
    _scorer(
        "side_effect",
        "mean KL(unsteered || steered) per token on neutral texts, divergence=, in nats; mapped: "
        "exp(-KL)",
        mapped="side_effect_to_unit",
        higher=False,
    ),
    _scorer(
        "concept_words", "share of a continuation's letters that stand in one of words=, 0 to 1"
    ),
)


@hookimpl
def tl_ext_adapters() -> tuple[AdapterSpec, ...]:
    return ADAPTERS


@hookimpl
def tl_ext_fixes() -> tuple[FixSpec, ...]:
    return FIXES


@hookimpl
def tl_ext_analyses() -> tuple[AnalysisSpec, ...]:
    return ANALYSES


@hookimpl
def tl_ext_dictionary_sources() -> tuple[DictionarySourceSpec, ...]:
    return DICTIONARY_SOURCES


@hookimpl
def tl_ext_scorers() -> tuple[ScorerSpec, ...]:
    return SCORERS
