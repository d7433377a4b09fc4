"""Read what the null of similarity needs: the strongest latents at concepts' words and at many others.

Word by word, so that nothing is held for all words and all latents at once: a few candidates a word are
kept, what they do at the word, how their directions lie, and when they fire on background text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.activations.capture import iterate, locate
from tl_ext.analysis import similarity
from tl_ext.analysis.selection import candidates, matched_on_rate
from tl_ext.analysis.similarity_null import like_in_frequency
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.matched import in_shared_frames
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.reading import (
    background_statistics,
    encode_pieces,
    residual_directions,
    texts_at_once,
    word_latents,
)
from tl_ext.study.collecting.frequencies import log_frequencies

if TYPE_CHECKING:
    from tl_ext.study.session import Session

SPARE = 5  # candidates a word for each latent of a group; those beyond can hardly be chosen anew
NULL_WORDS = 79  # the smallest p is 1/80; the nearest in frequency are taken where there are more
POOL = 50  # latents with the nearest firing rates, for each latent of a group


@dataclass(frozen=True)
class Language:
    """The words of one language, and the texts they are compared in.

    Attributes:
        language: Its code.
        concepts: The concepts said in it.
        matched: The matched words.
        own: For each concept its texts in the first half of the frames that all words share.
        frames: For each concept which of the matched words' texts have the same frames.
        texts: For each matched word its texts, in the frames of all concepts.
    """

    language: str
    concepts: tuple[Concept, ...]
    matched: tuple[Concept, ...]
    own: tuple[tuple[Example, ...], ...]
    frames: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[Example, ...], ...]


def by_language(concepts: Sequence[Concept], matched: Sequence[Concept]) -> list[Language]:
    """Concepts beside the matched words of their language, in every second frame that all have.

    The first, third, ... shared frame of a concept is the half that latents are chosen on.
    """
    found = []
    for language in dict.fromkeys(one.language for one in concepts):
        said = tuple(one for one in concepts if one.language == language)
        words = tuple(one for one in matched if one.language == language)
        texts: list[tuple[Example, ...]] = []  # [frame][word]
        own, frames = [], []
        for concept in said:
            mine, theirs = in_shared_frames(concept, words)
            own.append(mine[::2])
            places = []
            for column in zip(*(one[::2] for one in theirs), strict=True):
                if column not in texts:
                    texts.append(column)
                places.append(texts.index(column))
            frames.append(tuple(places))
        by_word = tuple(zip(*texts, strict=True)) if texts else ((),) * len(words)
        found.append(Language(language, said, words, tuple(own), tuple(frames), by_word))
    return found


def read(session: Session) -> dict[str, Tensor]:
    """Read the words and the background.

    Returns:
        For each language: `{language}/log_frequency`, `{language}/tokens` [word], concepts before
        matched words, and `{language}/frames/{i}`, the frames of the i-th concept. For each dictionary
        and language `{id}/{language}/latents`, `activations`, `cosine`, as `WordGroups` has them, and
        `rate_pool` [concept latent count]. For each dictionary `{id}/pool`, the latents that groups of
        like firing rate are drawn from with the concepts' own, `{id}/pool_cosine` and
        `{id}/firing_rate` [pool], and `{id}/row`, `latent`, `value`, what the kept latents do on the
        second half of the background; `text`, the text of each of its tokens.
    """
    top = session.plan.top
    languages = [
        one
        for one in by_language(session.concepts, session.matched)
        if one.matched and one.texts[0]
    ]
    first, second = session.background[::2], session.background[1::2]
    tensors: dict[str, Tensor] = {}
    for language in languages:
        tensors |= _frequencies(session, language, first)
        used = null_words(tensors[f"{language.language}/log_frequency"], len(language.concepts))
        tensors |= _words(session, language, SPARE * top, set(torch.cat(used).tolist()))
    if not languages:
        return {"text": torch.zeros(0, dtype=torch.long)}
    rates = background_statistics(
        session.model,
        session.dictionaries,
        first,
        batch_size=session.batch_size,
        max_tokens=session.plan.max_tokens,
        progress=session.bar("firing rates"),
    )
    for id, dictionary in session.dictionaries.items():
        tensors |= _pools(session, dictionary, rates[id].firing_rate, languages, tensors)
    return tensors | _background(session, second, languages, tensors)


def null_words(log_frequency: Float[Tensor, " word"], concepts: int) -> list[Int[Tensor, " null"]]:
    """For each concept the matched words nearest in frequency, by their place among all words.

    Args:
        log_frequency: Of the concepts, then of the matched words.
        concepts: How many concepts there are.
    """
    others = log_frequency[concepts:]
    return [
        like_in_frequency(float(one), others, NULL_WORDS) + concepts
        for one in log_frequency[:concepts]
    ]


def _frequencies(
    session: Session, language: Language, background: Sequence[str]
) -> dict[str, Tensor]:
    groups = [*language.own, *language.texts]
    frequency, tokens = log_frequencies(
        session.model,
        list(chain.from_iterable(groups)),
        background,
        batch_size=session.batch_size,
        max_tokens=session.plan.max_tokens,
        progress=session.bar(f"frequencies, {language.language}"),
    )
    sizes = [len(group) for group in groups]
    found = {
        f"{language.language}/log_frequency": _means(frequency, sizes),
        f"{language.language}/tokens": _means(tokens, sizes),
    }
    for index, frames in enumerate(language.frames):
        found[f"{language.language}/frames/{index}"] = torch.tensor(frames, dtype=torch.long)
    return found


def _means(values: Float[Tensor, " example"], sizes: Sequence[int]) -> Float[Tensor, " group"]:
    parts = values.split(list(sizes))
    return torch.stack([part.mean() if len(part) else torch.tensor(torch.nan) for part in parts])


def _words(session: Session, language: Language, count: int, used: set[int]) -> dict[str, Tensor]:
    """The candidates of every word that is used, in every dictionary, a few words at a time."""
    first = len(language.own)
    groups = [
        *language.own,
        *(texts if word in used else () for word, texts in enumerate(language.texts, first)),
    ]
    frames = len(language.texts[0])
    latents = {id: torch.full((len(groups), count), -1) for id in session.dictionaries}
    values = {id: torch.zeros(len(groups), frames, count) for id in session.dictionaries}
    step = max(1, texts_at_once(session.dictionaries) // frames)
    label = session.bar(f"words, {language.language}")
    with tqdm(total=len(groups), desc=label, unit="word", disable=label is None) as bar:
        for start in range(0, len(groups), step):
            part = groups[start : start + step]
            sizes = [len(group) for group in part]
            if sum(sizes):
                read = word_latents(
                    session.model,
                    session.dictionaries,
                    list(chain.from_iterable(part)),
                    over_tokens=session.plan.over_tokens,  # type: ignore[arg-type]
                    batch_size=session.batch_size,
                )
            for id in session.dictionaries if sum(sizes) else ():
                for word, rows in enumerate(read[id].split(sizes), start):
                    if not len(rows):
                        continue
                    at = language.frames[word] if word < first else range(frames)
                    latents[id][word], found = candidates(rows, count)
                    values[id][word, list(at)] = found
            bar.update(len(part))
    tensors: dict[str, Tensor] = {}
    for id, dictionary in session.dictionaries.items():
        name = f"{id}/{language.language}"
        directions = residual_directions(
            session.model, dictionary, torch.unique(latents[id].clamp(min=0))
        ).cpu()
        place = torch.searchsorted(torch.unique(latents[id].clamp(min=0)), latents[id].clamp(min=0))
        tensors |= {
            f"{name}/latents": latents[id].int(),
            f"{name}/activations": values[id],
            f"{name}/cosine": torch.stack(
                [similarity.cosine(directions[one]).float() for one in place]
            ),
        }
    return tensors


def _pools(
    session: Session,
    dictionary: Dictionary,
    firing_rate: Float[Tensor, " d_latent"],
    languages: Sequence[Language],
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Latents of like firing rate for each concept's group, and how their directions lie."""
    top, found, pool = session.plan.top, {}, set()
    for language in languages:
        chosen = tensors[f"{dictionary.id}/{language.language}/latents"][:, :top].long()
        rows = torch.stack(
            [
                matched_on_rate(firing_rate, group, POOL, seed=session.plan.seed)
                for group in chosen[: len(language.concepts)]
            ]
        )
        pool.update(chosen[: len(language.concepts)].flatten().tolist())
        found[f"{dictionary.id}/{language.language}/rate_pool"] = rows.int()
        pool.update(rows.flatten().tolist())
    latents = torch.tensor(sorted(pool - {-1}), dtype=torch.long)
    return found | {
        f"{dictionary.id}/pool": latents.int(),
        f"{dictionary.id}/pool_cosine": similarity.cosine(
            residual_directions(session.model, dictionary, latents).cpu()
        ).float(),
        f"{dictionary.id}/firing_rate": firing_rate[latents],
    }


def _background(
    session: Session,
    texts: Sequence[str],
    languages: Sequence[Language],
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """When the kept latents fire on background text: token, latent and activation."""
    if not texts:
        return {"text": torch.zeros(0, dtype=torch.long)} | {
            f"{id}/{name}": torch.zeros(0, dtype=torch.float if name == "value" else torch.int)
            for id in session.dictionaries
            for name in ("row", "latent", "value")
        }
    kept: dict[str, Tensor] = {}
    for id, dictionary in session.dictionaries.items():
        kept[id] = torch.zeros(dictionary.d_latent, dtype=torch.bool)
        kept[id][tensors[f"{id}/pool"].long()] = True
        for language in languages:
            latents = tensors[f"{id}/{language.language}/latents"].long()
            kept[id][latents[latents >= 0]] = True
    parts: dict[str, list[Tensor]] = {"text": []}
    tokens = 0
    for part in iterate(
        session.model,
        texts,
        [dictionary.hook_in for dictionary in session.dictionaries.values()],
        batch_size=session.batch_size,
        max_tokens=session.plan.max_tokens,
        progress=session.bar("background of the null"),
    ):
        cells = part.batch.content
        parts["text"].append(locate(part, cells)[0])
        for id, dictionary in session.dictionaries.items():
            start = tokens
            for encoded in encode_pieces(dictionary, part, cells):
                rows = encoded.float().cpu() * kept[id]
                row, latent = rows.nonzero(as_tuple=True)
                for name, one in (
                    ("row", (row + start).int()),
                    ("latent", latent.int()),
                    ("value", rows[row, latent]),
                ):
                    parts.setdefault(f"{id}/{name}", []).append(one)
                start += len(rows)
        tokens += int(cells.sum())
    return {name: torch.cat(several) for name, several in parts.items()}
