"""What sets of latents do at a word: take them out, and see what the model says next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.analysis import effects as analysis
from tl_ext.concepts.concept import Concept, Example
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import HookPointError, InputError
from tl_ext.models.hook_points import why_not_editable
from tl_ext.models.predicting import check_predicts
from tl_ext.models.tokens import listed
from tl_ext.steering.ablation_sets import planned
from tl_ext.steering.contributions import WordContributions, word_contributions
from tl_ext.steering.outputs import MEASURES, WordLists, changes, reads_once
from tl_ext.steering.words import check_apart

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

RANDOM_SETS = 20
RELABELLED_SETS = 99  # a smallest p of 0.01, so that one of five sets can be shown


@dataclass(frozen=True, eq=False, repr=False)
class AblationEffects:
    """What taking sets of latents out did, beside random sets.

    Attributes:
        rows: A row per set, text and draw: `set`, `text` (its index), `role` ("set", "matched",
            "relabelled"), `draw`, `latents` (how many were active), `own` (of these, the set's),
            `norm` (of what was taken out), `kl_at`, `kl_after`, `odds_at`, `odds_after` (nats, see
            `ablation_effects`), and the same with `_singly`: the sum over its latents taken out one
            at a time.
        sets: The latents of each set.
        texts: The texts and their words.
        without: Latents that were out throughout, in the reference too.
        dictionary: The dictionary's id.
        words: What the log-odds are of, in words.
    """

    rows: pd.DataFrame
    sets: Mapping[str, tuple[int, ...]]
    texts: tuple[Example, ...]
    without: tuple[int, ...]
    dictionary: str
    words: str

    @cached_property
    def summary(self) -> pd.DataFrame:
        """What each set did beyond its random sets, see
        [`summarise`][tl_ext.analysis.effects.summarise] and [`judge`][tl_ext.analysis.effects.judge].
        """
        return analysis.judge(analysis.summarise(self.rows, self.sets))

    def verdicts(self) -> list[str]:
        """What may be said of each set, a sentence each that the summary bears out."""
        return analysis.verdicts(self.summary)

    def __repr__(self) -> str:
        sets = ", ".join(f"{name} ({len(latents)})" for name, latents in self.sets.items())
        return f"<AblationEffects in {self.dictionary} on {len(self.texts)} texts: {sets}>"

    def _repr_html_(self) -> str:
        return str(self.summary.to_html(index=False))


def ablation_effects(
    model: TransformerBridge,
    dictionary: Dictionary,
    examples: Sequence[Example] | Concept,
    sets: Mapping[str, Sequence[int]],
    *,
    words: Sequence[str],
    against: Sequence[str] = (),
    without: Sequence[int] = (),
    random_sets: int = RANDOM_SETS,
    relabelled_sets: int = RELABELLED_SETS,
    seed: int = 0,
    batch_size: int = 128,
    progress: str | None = None,
) -> AblationEffects:
    """Take sets of latents out at the words of texts, and measure what the model says next.

    What a set's latents contribute is subtracted at the word's tokens, of all its occurrences; the
    error term stays. Measured are, in nats, against the model as it is (or without `without`):

    - `kl_at`: KL divergence of the next-token distribution at the word's last token;
    - `kl_after`: its mean over the tokens after the word, to the end of the text;
    - `odds_at`: the change of the log-odds that the next word is one of `words` rather than of
      `against`, teacher-forced over all tokens of each, at the word's last token;
    - `odds_after`: the same at the end of the text.

    Args:
        model: A hooked model.
        dictionary: The dictionary the latents belong to.
        examples: Texts with the word to act at; of a concept its examples. Fewer than 30 decide
            nothing.
        sets: Latents by the name of their set. Members are tested as sets of one: the random sets of a
            set are drawn from latents of no given set that includes it.
        words: Words that stand for the concept, each with the space it begins with: `" heureux"`.
        against: Words of the opposite; empty: anything else.
        without: Latents that are out in every row and in the reference: give the strong ones, and the
            effects are of the weak ones once these are gone.
        random_sets: Matched sets in each text.
        relabelled_sets: Relabelled sets, the number that limits the smallest p.
        seed: Of the random sets.
        batch_size: Rows, one text under different ablations, in a forward pass.
        progress: The label of a progress bar; None: no bar.

    Raises:
        InputError: No texts or sets, latents the dictionary lacks, a word without tokens of its own,
            or one in both lists; a model that predicts no next token.
        HookPointError: A hook point the model lacks or that cannot be edited.
        DictionaryError: A dictionary of another width than its hook point.
    """
    check_predicts(model, "effect of an ablation on it")
    several = listed(examples.examples if isinstance(examples, Concept) else examples)
    chosen = {name: _latents(dictionary, name, given) for name, given in sets.items()}
    gone = _latents(dictionary, "without", without)
    _check(dictionary, chosen, gone, words, against, (random_sets, relabelled_sets, batch_size))
    read = word_contributions(model, dictionary, several, batch_size=batch_size)
    lists = [WordLists.after(model.tokenizer, one.text, words, against) for one in several]
    plans = planned(
        read,
        chosen,
        gone,
        random_sets=random_sets,
        relabelled_sets=relabelled_sets,
        least=analysis.LEAST_TEXTS,
        seed=seed,
    )
    once = _reads_once(model, dictionary.hook_out, read[0], lists[0])
    parts = []
    for place, one in enumerate(tqdm(read, desc=progress, unit="text", disable=progress is None)):
        taken = _Taken(one, gone)
        for name, role, masks in plans[place]:
            taken.add(name, role, masks, own=one.held(chosen[name]))
        effects = changes(
            model,
            dictionary.hook_out,
            one.ids,
            one.columns,
            -taken.summed,
            -taken.reference,
            lists[place],
            batch_size=batch_size,
            once=once,
        )
        parts.append(taken.measured(effects.double().numpy()).assign(text=place))
    return AblationEffects(
        rows=pd.concat(parts, ignore_index=True),
        sets=chosen,
        texts=tuple(several),
        without=gone,
        dictionary=dictionary.id,
        words=f"{_told(words)} over {_told(against) if against else 'anything else'}",
    )


def _latents(dictionary: Dictionary, name: str, given: Sequence[int]) -> tuple[int, ...]:
    latents = tuple(sorted({int(latent) for latent in given}))
    wrong = [latent for latent in latents if not 0 <= latent < dictionary.d_latent]
    if wrong:
        raise InputError(
            f"{name!r} names the latents {wrong}; {dictionary.id!r} has {dictionary.d_latent}, counted "
            "from 0."
        )
    return latents


def _check(
    dictionary: Dictionary,
    sets: Mapping[str, tuple[int, ...]],
    gone: tuple[int, ...],
    words: Sequence[str],
    against: Sequence[str],
    numbers: tuple[int, int, int],
) -> None:
    if reason := why_not_editable(dictionary.hook_out):
        raise HookPointError(f"{dictionary.hook_out} cannot be edited: {reason}.")
    if not sets or not all(sets.values()):
        empty = [name for name, latents in sets.items() if not latents]
        raise InputError(
            f"{len(sets)} sets were given, without latents: {empty}; one set or more is expected, each "
            "of one latent or more."
        )
    for name, latents in sets.items():
        both = sorted(set(latents) & set(gone))
        if both:
            raise InputError(f"{both} are in {name!r} and in `without`; they cannot go twice.")
    for name, given in (("words", words), ("against", against)):
        if isinstance(given, str):
            raise InputError(f"{name} is one string: {given!r}. Give a list of words.")
    if not words:
        raise InputError("No words were given; at least one that stands for the concept is needed.")
    check_apart(words, against)
    if min(numbers) < 1:
        raise InputError(
            f"random_sets, relabelled_sets and batch_size are {numbers}; 1 or more is expected of each."
        )


def _told(words: Sequence[str]) -> str:
    return ", ".join(word.strip() for word in words)


def _reads_once(
    model: TransformerBridge, hook_point: str, text: WordContributions, words: WordLists
) -> bool:
    """Whether the layers before the hook point serve all rows at once, tried on one text."""
    everything = text.summed(np.ones((1, len(text.latents)), dtype=bool))
    rows = torch.cat([0 * everything, everything, -everything])
    return reads_once(model, hook_point, text.ids, text.columns, rows, words)


class _Taken:
    """All that is taken out at the word of one text, each different thing measured once."""

    def __init__(self, text: WordContributions, gone: Sequence[int]) -> None:
        self.text = text
        self.gone = text.held(gone)
        self.runs: dict[bytes, int] = {}
        self.masks: list[NDArray[np.bool_]] = []
        self.wanted: list[dict[str, Any]] = []

    def add(
        self, name: str, role: str, masks: NDArray[np.bool_], *, own: NDArray[np.bool_]
    ) -> None:
        """Take these sets out, and the latents of each one at a time."""
        for draw, mask in enumerate(masks):
            held, run = int((mask & own).sum()), self._run(mask)
            self.wanted.append({"set": name, "role": role, "draw": draw, "own": held, "run": run})
            for latent in np.flatnonzero(mask):
                self._run(self._single(int(latent)))

    def _single(self, latent: int) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.text.latents), dtype=bool)
        mask[latent] = True
        return mask

    def _run(self, mask: NDArray[np.bool_]) -> int:
        key = mask.tobytes()
        if key not in self.runs:
            self.runs[key] = len(self.masks)
            self.masks.append(mask)
        return self.runs[key]

    @property
    def summed(self) -> Float[Tensor, "run word_token d_out"]:
        """What each run takes out."""
        return self.text.summed(np.stack(self.masks) | self.gone)

    @property
    def reference(self) -> Float[Tensor, "word_token d_out"]:
        """What is out throughout."""
        return self.text.summed(self.gone[None])[0]

    def measured(self, together: Float[NDArray[np.float64], "run measure"]) -> pd.DataFrame:
        """A row for each set and draw, from what each run changed."""
        masks = np.stack(self.masks)
        # What nothing is taken out of does not change; rounding must not say otherwise.
        together[~masks.any(1)] *= 0.0
        singly = np.stack([self._sum_of_singles(mask, together) for mask in masks])
        wanted = pd.DataFrame(self.wanted)
        run = wanted.pop("run").to_numpy()
        norms = np.sqrt(np.clip(((masks @ self.text.products) * masks).sum(1), 0.0, None))
        columns = {
            "latents": masks.sum(1)[run],
            "norm": norms[run],
            **dict(zip(MEASURES, together[run].T, strict=True)),
            **{f"{name}_singly": each for name, each in zip(MEASURES, singly[run].T, strict=True)},
        }
        return wanted.assign(**columns)

    def _sum_of_singles(
        self, mask: NDArray[np.bool_], together: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        runs = [self.runs[self._single(int(one)).tobytes()] for one in np.flatnonzero(mask)]
        # Nothing taken out has no singles, and its own row says 0, or NaN where there is no place.
        total: NDArray[np.float64] = together[runs or [self.runs[mask.tobytes()]]].sum(0)
        return total
