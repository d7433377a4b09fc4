"""How well a dictionary fits a model: what it leaves unexplained, and what that costs the model.

The mistake to catch is silent: a dictionary trained on a model with processed weights reads raw
activations without complaint and reconstructs them badly. What the dictionary states is held against
the model's processing, and what it does is measured, with the activations as they are and with them
changed as processing would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.dictionaries.dictionary import LATENTS_AT_ONCE, Dictionary
from tl_ext.errors import DictionaryError, HookPointError, InputError
from tl_ext.models.hook_points import (
    RESIDUAL_KINDS,
    hooked,
    kind_of,
    layer_of,
    resolve,
    why_not_editable,
)
from tl_ext.models.loading import Processing, processing_of
from tl_ext.models.predicting import check_predicts
from tl_ext.models.tokens import Batch, batch, listed

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

POOR_FVU = 0.5
"""Above this a dictionary is said to fit badly. Good ones leave 0.05 to 0.3 of the variance."""
FITS_BETTER = 0.5
"""A change of the activations is advised when it brings FVU below this share of what it was, ..."""
WORTH_SAYING = 0.05
"""... and by at least this much."""
PROBED_ROWS = 512

# Which switch of Processing changes what a hook point holds. Source: TransformerLens' weight
# processing; log-probabilities, attention patterns and MLP activations change under none of them.
_PRE_NORM = frozenset({"attn_in", "mlp_in", "q_input", "k_input", "v_input"})
_SWITCHES = {
    "center_writing_weights": RESIDUAL_KINDS | _PRE_NORM,
    "fold_value_biases": frozenset({"z", "v"}),
    "fold_layer_norm": frozenset({"normalized"}),
}


@dataclass(frozen=True)
class Measures:
    """What was measured on one choice of tokens.

    Attributes:
        n_tokens: On how many tokens reconstructions were measured.
        n_predictions: On how many of them cross-entropy was: those with a token after them.
        fvu: Fraction of variance unexplained, `sum |x - x_hat|^2 / sum |x - mean(x)|^2` over tokens
            and dimensions, where x is the activation at `hook_out`. 0 is perfect, 1 is no better than
            the mean, and a dictionary for other activations is often above 1.
        l0: Mean number of latents that are not 0, per token.
        dead_share: Share of latents that were 0 on all `n_tokens`; rare latents look dead on few
            tokens.
        ce_clean: The model's own mean cross-entropy in nats.
        ce_splice: The same with the reconstruction in place of the activation at these tokens.
        ce_zero: The same with zeros in place of the activation at these tokens.
        ce_recovered: `(ce_zero - ce_splice) / (ce_zero - ce_clean)`: 1 as good as the activation, 0
            as bad as zeros; NaN where zeros do no harm.
    """

    n_tokens: int
    n_predictions: int
    fvu: float
    l0: float
    dead_share: float
    ce_clean: float
    ce_splice: float
    ce_zero: float
    ce_recovered: float


@dataclass(frozen=True, repr=False)
class DictionaryQuality:
    """What `evaluate_dictionary` found.

    Attributes:
        id: The dictionary's id.
        hook_in: The hook point it reads.
        hook_out: The hook point it reconstructs.
        d_latent: How many latents it has.
        n_texts: On how many texts it was measured.
        content: On the tokens of the texts, without BOS, prefix, padding and the first position.
        all_tokens: On every real token, those included.
        stated_processing: The processing the dictionary states; None: it does not say.
        model_processing: The processing of the model.
        warnings: What is wrong or doubtful.
        advice: What to do about it.
    """

    id: str
    hook_in: str
    hook_out: str
    d_latent: int
    n_texts: int
    content: Measures
    all_tokens: Measures
    stated_processing: Processing | None
    model_processing: Processing
    warnings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained at content tokens."""
        return self.content.fvu

    @property
    def l0(self) -> float:
        """Latents active per content token."""
        return self.content.l0

    @property
    def dead_share(self) -> float:
        """Share of latents that never fired at content tokens."""
        return self.content.dead_share

    @property
    def ce_recovered(self) -> float:
        """Cross-entropy recovered at content tokens."""
        return self.content.ce_recovered

    def to_frame(self) -> pd.DataFrame:
        """Two rows, `content` and `all tokens`, one column a measure; rows of several dictionaries
        can be put under each other."""
        import pandas as pd

        rows = [
            {"dictionary": self.id, "tokens": name, **asdict(measures), "n_texts": self.n_texts}
            for name, measures in (("content", self.content), ("all tokens", self.all_tokens))
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        def line(name: str, of: Measures) -> str:
            return (
                f"  {name:<10}  FVU {of.fvu:.3f}  L0 {of.l0:.1f}  dead {of.dead_share:.1%} of "
                f"{self.d_latent} on {of.n_tokens} tokens  CE {of.ce_clean:.3f}, spliced "
                f"{of.ce_splice:.3f}, zeros {of.ce_zero:.3f}, recovered {of.ce_recovered:.3f}"
            )

        places = (
            self.hook_in if self.hook_in == self.hook_out else f"{self.hook_in} -> {self.hook_out}"
        )
        stated = "unknown" if self.stated_processing is None else str(self.stated_processing)
        return "\n".join(
            [
                f"{self.id} at {places}, trained on processing {stated}, model {self.model_processing}",
                line("content", self.content),
                line("all tokens", self.all_tokens),
                *(f"  warning: {text}" for text in self.warnings),
                *(f"  advice: {text}" for text in self.advice),
            ]
        )


@torch.no_grad()
def evaluate_dictionary(
    model: TransformerBridge,
    dictionary: Dictionary,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: bool = False,
) -> DictionaryQuality:
    """Measure a dictionary on texts and say whether it belongs to this model.

    Everything is measured twice: at content tokens, and at every real token (BOS, prefix and the first
    position carry massive activations that swamp an average). Five forward passes a batch: clean, and
    for both choices of tokens with the reconstruction and with zeros put in at exactly these tokens.
    Cross-entropy is averaged over the predictions made at these tokens.

    Args:
        model: A hooked model.
        dictionary: Any dictionary.
        texts: At least one text of two tokens.
        batch_size: Texts a forward pass.
        max_tokens: Cut texts to this many tokens, prefix included; None: a text longer than the
            model's context is an error.
        progress: Show a bar.

    Returns:
        The measures, with warnings and advice.

    Raises:
        HookPointError: The model lacks one of the dictionary's hook points (the nearest are told), or
            it does not fire.
        DictionaryError: The activation there has another width than the dictionary.
        InputError: No texts, none with content, several dictionaries instead of one, or a model that
            predicts no next token.
    """
    texts = listed(texts)
    check_predicts(model, "cross-entropy to evaluate a dictionary by")
    if isinstance(dictionary, Mapping):
        raise InputError(
            f"One dictionary is expected, not {len(dictionary)} by id: choose one with "
            ".at('blocks.N....'), its hook point, or by its id."
        )
    for name in (dictionary.hook_in, dictionary.hook_out):
        resolve(model, name)
    splices = not why_not_editable(dictionary.hook_out)

    content, everything = _Tally(dictionary.d_latent), _Tally(dictionary.d_latent)
    probe = _Probe(dictionary)
    for tokens in tqdm(
        _batches(model, texts, batch_size, max_tokens),
        total=-(-len(texts) // batch_size),
        desc="evaluate",
        unit="batch",
        disable=not progress,
    ):
        logits, x, target = _clean(model, dictionary, tokens)
        _fits(model, dictionary, x, target)
        probe.take(x, target, tokens.content)
        reconstruction = torch.zeros_like(target)
        for rows, latents in _encoded(dictionary, x, tokens.mask):
            # [row d_out]; statistics are the rows' own
            out = dictionary.decode(latents, dictionary.statistics(x[rows]))
            reconstruction[rows] = out
            of_content = tokens.content[rows]
            everything.reconstructed(target[rows], out, latents)
            content.reconstructed(target[rows][of_content], out[of_content], latents[of_content])
        for tally, where in ((content, tokens.content), (everything, tokens.mask)):
            predicts = _predicts(where, tokens)
            tally.predicted("clean", logits, tokens, predicts)
            if splices:
                for kind, put in (("splice", reconstruction), ("zero", torch.zeros_like(target))):
                    edited = _edited(model, dictionary.hook_out, tokens, put, where)
                    tally.predicted(kind, edited, tokens, predicts)
    if not content.n:
        raise InputError(
            f"None of the {len(texts)} texts has a token after the first. Give longer texts."
        )
    return _judged(
        DictionaryQuality(
            id=dictionary.id,
            hook_in=dictionary.hook_in,
            hook_out=dictionary.hook_out,
            d_latent=dictionary.d_latent,
            n_texts=len(texts),
            content=content.measures(),
            all_tokens=everything.measures(),
            stated_processing=dictionary.processing,
            model_processing=processing_of(model),
        ),
        probe,
        model,
        splices=splices,
    )


def _batches(
    model: TransformerBridge, texts: Sequence[str], size: int, max_tokens: int | None
) -> Iterator[Batch]:
    """Texts in batches of like length."""
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), size):
        yield batch(model, ordered[start : start + size], max_tokens=max_tokens)


def _clean(
    model: TransformerBridge, dictionary: Dictionary, tokens: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, what the dictionary reads and what it reconstructs."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        def function(activation: Tensor) -> None:
            seen[name] = activation.detach().clone()

        return function

    places = dict.fromkeys((dictionary.hook_in, dictionary.hook_out))
    with hooked(model, {name: keep(name) for name in places}) as fired:
        logits = model(tokens.ids, **tokens.forward_arguments())
    _fired(fired)
    return logits, seen[dictionary.hook_in], seen[dictionary.hook_out]


def _edited(
    model: TransformerBridge,
    name: str,
    tokens: Batch,
    put: Tensor,
    where: Bool[Tensor, "text token"],
) -> Tensor:
    """Logits with `put` in place of the activation at `where`."""

    def function(activation: Tensor) -> Tensor:
        return torch.where(where[..., None], put.to(activation.dtype), activation)

    with hooked(model, {name: function}) as fired:
        logits: Tensor = model(tokens.ids, **tokens.forward_arguments())
    _fired(fired)
    return logits


def _fired(fired: dict[str, int]) -> None:
    silent = [name for name, times in fired.items() if not times]
    if silent:
        raise HookPointError(f"These hook points never fired in a forward pass: {silent}.")


def _fits(model: TransformerBridge, dictionary: Dictionary, x: Tensor, target: Tensor) -> None:
    d_out = dictionary.bias.shape[0]
    for name, given, expected in (
        (dictionary.hook_in, x.shape[-1], dictionary.d_in),
        (dictionary.hook_out, target.shape[-1], d_out),
    ):
        if given != expected:
            raise DictionaryError(
                f"{dictionary.id} is {expected} wide at {name}; this model's activation there is "
                f"{given} wide. It was made for another model"
                + (f" ({_trained_on(dictionary)})." if _trained_on(dictionary) else ".")
            )
    if not torch.isfinite(x).all():
        raise InputError(f"The model's activations at {dictionary.hook_in} hold NaN or infinity.")


def _trained_on(dictionary: Dictionary) -> str | None:
    metadata = getattr(dictionary, "metadata", None) or {}
    return metadata.get("model_name")


def _encoded(
    dictionary: Dictionary, x: Float[Tensor, "text token d_in"], mask: Bool[Tensor, "text token"]
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Latents of the real tokens in pieces, each with the (text, token) indices of its rows."""
    if dictionary.needs_context:
        for number, real in enumerate(mask):
            columns = real.nonzero()[:, 0]
            latents = dictionary.encode(x[number, columns][None])[0]
            yield (torch.full_like(columns, number), columns), latents
        return
    text, token = mask.nonzero(as_tuple=True)
    step = max(1, LATENTS_AT_ONCE // dictionary.d_latent)
    for start in range(0, len(text), step):
        rows = (text[start : start + step], token[start : start + step])
        yield rows, dictionary.encode(x[rows])


def _predicts(where: Bool[Tensor, "text token"], tokens: Batch) -> Bool[Tensor, "text token-1"]:
    """Where a prediction is made at a chosen token and the token after it is real."""
    return where[:, :-1] & tokens.mask[:, 1:]


@dataclass
class _Tally:
    """Sums over batches, in float64."""

    d_latent: int
    n: int = 0
    error: float = 0.0
    square: float = 0.0
    total: Tensor | None = None
    active: int = 0
    fired: Tensor | None = None
    predictions: int = 0
    loss: dict[str, float] = field(default_factory=dict)

    def reconstructed(self, x: Tensor, x_hat: Tensor, latents: Tensor) -> None:
        if not len(x):
            return
        x, x_hat = x.cpu().double(), x_hat.cpu().double()
        self.n += len(x)
        self.error += float((x - x_hat).square().sum())
        self.square += float(x.square().sum())
        self.total = x.sum(0) if self.total is None else self.total + x.sum(0)
        nonzero = latents != 0
        self.active += int(nonzero.sum())
        fired = nonzero.any(0).cpu()
        self.fired = fired if self.fired is None else self.fired | fired

    def predicted(self, kind: str, logits: Tensor, tokens: Batch, where: Tensor) -> None:
        loss = 0.0
        # Text by text: a float32 copy of all logits is the largest thing there would be.
        for row, ids, chosen in zip(logits, tokens.ids, where, strict=True):
            wanted = ids[1:][chosen]
            if len(wanted):
                loss += float(
                    torch.nn.functional.cross_entropy(
                        row[:-1][chosen].float(), wanted, reduction="sum"
                    )
                )
        self.loss[kind] = self.loss.get(kind, 0.0) + loss
        self.predictions += int(where.sum()) if kind == "clean" else 0

    def measures(self) -> Measures:
        nan = float("nan")
        mean_square = 0.0 if self.total is None else float(self.total.square().sum()) / self.n
        variance = self.square - mean_square
        clean, splice, zero = (
            self.loss.get(kind, nan) / self.predictions if self.predictions else nan
            for kind in ("clean", "splice", "zero")
        )
        return Measures(
            n_tokens=self.n,
            n_predictions=self.predictions,
            fvu=self.error / variance if variance > 0 else nan,
            l0=self.active / self.n if self.n else nan,
            dead_share=nan if self.fired is None else float((~self.fired).float().mean()),
            ce_clean=clean,
            ce_splice=splice,
            ce_zero=zero,
            ce_recovered=(zero - splice) / (zero - clean) if zero > clean else nan,
        )


class _Probe:
    """A few hundred rows, kept to try the dictionary on them changed as processing would."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        # Statistics of a sequence cannot be taken from loose rows, nor a transcoder's target changed
        # along with its input.
        self.possible = not dictionary.needs_context and dictionary.hook_in == dictionary.hook_out
        self.rows: list[Tensor] = []
        self.count = 0

    def take(self, x: Tensor, target: Tensor, content: Tensor) -> None:
        if self.possible and self.count < PROBED_ROWS:
            rows = x[content][: PROBED_ROWS - self.count].float()
            self.rows.append(rows)
            self.count += len(rows)

    def fvu(self, change: Callable[[Tensor], Tensor]) -> float:
        """FVU on the kept rows, changed; both the input and what is to be reconstructed."""
        x = change(torch.cat(self.rows))
        error = total = 0.0
        step = max(1, LATENTS_AT_ONCE // self.dictionary.d_latent)
        for rows in torch.split(x, step):
            error += float((rows - self.dictionary.reconstruct(rows)).square().sum())
        total = float((x - x.mean(0)).square().sum())
        return error / total if total > 0 else float("nan")


def _judged(
    quality: DictionaryQuality, probe: _Probe, model: TransformerBridge, *, splices: bool
) -> DictionaryQuality:
    """The same with warnings and advice."""
    warnings, advice = _mismatch(quality)
    poor = not quality.content.fvu <= POOR_FVU
    if poor:
        warnings.append(
            f"FVU is {quality.content.fvu:.2f} at content tokens: the dictionary does not explain "
            "these activations."
        )
    if (warnings or quality.stated_processing is None) and probe.possible and probe.count > 1:
        found = _measured(quality, probe, model)
        if found and not warnings:
            warnings.append(
                "The dictionary does not say what model processing it was trained under, and it fits "
                "other activations than this model's."
            )
        advice = [*found, *advice]
        if poor and not found:
            advice.append(_unexplained(quality))
    if not splices:
        warnings.append(
            f"No cross-entropy was measured with edits at {quality.hook_out}: "
            f"{why_not_editable(quality.hook_out)}."
        )
    elif quality.content.ce_zero <= quality.content.ce_clean:
        warnings.append(
            "Zeros in place of the activation do the model no harm on these texts, so cross-entropy "
            "recovered has no meaning here."
        )
    return replace(quality, warnings=tuple(warnings), advice=tuple(dict.fromkeys(advice)))


def _mismatch(quality: DictionaryQuality) -> tuple[list[str], list[str]]:
    """What the dictionary states against what the model is."""
    stated, actual = quality.stated_processing, quality.model_processing
    if stated is None:
        return [], []
    differ = [
        switch
        for switch, kinds in _SWITCHES.items()
        if {kind_of(quality.hook_in), kind_of(quality.hook_out)} & kinds
        and getattr(stated, switch) != getattr(actual, switch)
    ]
    if not differ:
        return [], []
    warning = (
        f"The dictionary was trained on a model with processing {stated}, this model's is {actual}; "
        f"at {quality.hook_in} they differ in {', '.join(differ)}."
    )
    return [warning], [_load_with(stated)]


def _measured(quality: DictionaryQuality, probe: _Probe, model: TransformerBridge) -> list[str]:
    """Changes of the activations under which the dictionary fits far better, and what to do."""
    kind, layer = kind_of(quality.hook_in), layer_of(quality.hook_in)
    actual = quality.model_processing
    before = probe.fvu(lambda x: x)
    found: list[str] = []

    def tried(change: Callable[[Tensor], Tensor], said: str, do: str) -> None:
        after = probe.fvu(change)
        if after < min(FITS_BETTER * before, before - WORTH_SAYING, 1.0):
            found.extend([f"It fits {said}: FVU {after:.2f} instead of {before:.2f}.", do])

    compatibility = _load_with(Processing.COMPATIBILITY)
    if kind in _SWITCHES["center_writing_weights"] and not actual.center_writing_weights:
        tried(
            lambda x: x - x.mean(-1, keepdim=True),
            "activations of a model with centred writing weights",
            compatibility,
        )
    width = probe.rows[0].shape[-1]
    if kind == "z" and layer is not None and not actual.fold_value_biases:
        bias = _value_bias(model, layer, width)
        if bias is not None:
            tried(
                lambda x: x - bias.to(x),
                "activations of a model with folded value biases",
                compatibility,
            )
    length = float(torch.linalg.vector_norm(torch.cat(probe.rows), dim=-1).mean())
    if length > 0 and not found:
        factor = width**0.5 / length
        tried(
            lambda x: x * factor,
            "activations of mean length sqrt(d_in)",
            "It was trained with expected_average_only_in and the constant was not folded in: put "
            f'{{"scaling_factor": {factor:.6g}}} into activation_scaler.json beside its weights and '
            "set normalize_activations to expected_average_only_in.",
        )
    return found


def _unexplained(quality: DictionaryQuality) -> str:
    if quality.stated_processing is None and quality.model_processing != Processing.RAW:
        # What processing took out of activations cannot be put back to try it.
        return f"It may be made for a model as it is. {_load_with(Processing.RAW)}"
    return "See whether it was made for this model and this hook point."


def _load_with(processing: Processing) -> str:
    spelled = {
        Processing.RAW: "Processing.RAW",
        Processing.COMPATIBILITY: "Processing.COMPATIBILITY",
    }.get(processing, repr(processing))
    return f"Load the model with load_model(..., processing={spelled})."


def _value_bias(model: TransformerBridge, layer: int, width: int) -> Tensor | None:
    """What folding takes out of hook_z: the value biases, side by side; None where there are none.

    Folding the norm first moves its bias through W_V into them.
    """
    block = model.blocks[layer]
    bias, weight = getattr(block.attn, "b_V", None), getattr(block.attn, "W_V", None)
    if not isinstance(bias, Tensor):
        return None
    heads = bias if bias.ndim == 2 else bias.reshape(-1, bias.shape[-1])  # [head d_head]
    norm = getattr(getattr(block, "ln1", None), "b", None)
    if isinstance(norm, Tensor) and isinstance(weight, Tensor) and weight.ndim == 3:
        heads = heads + torch.einsum("d, h d e -> h e", norm.to(weight), weight)
    if not bool(heads.any()):
        return None
    if heads.numel() != width and width % heads.numel() == 0:
        # Grouped-query attention: one value head serves several query heads.
        heads = heads.repeat_interleave(width // heads.numel(), dim=0)
    return heads.detach().flatten() if heads.numel() == width else None
