"""Which latents belong to each of many words, so that a concept's words can be set beside others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.analysis.crosslingual import Said, firing_chance
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.matched import frame_of, in_shared_frames
from tl_ext.concepts.spans import word_spans_many
from tl_ext.dictionaries.reading import texts_at_once, word_latents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.study.analyses.readings import Readings
    from tl_ext.study.session import Session

WORDS = 40  # matched words of a language; with one concept the smallest p is 1/40
FRAMES = 14  # texts a word, spread over those that all words share


def word_tokens(model: TransformerBridge, examples: Sequence[Example]) -> Int[Tensor, " text"]:
    """How many tokens the word of each text has, all its occurrences together."""
    spans = word_spans_many(
        model.tokenizer, [one.text for one in examples], [one.word for one in examples]
    )
    return torch.tensor([sum(end - start for start, end in each) for each in spans])


def frame_pairs(concept: Concept) -> Int[Tensor, "pair 2"]:
    """For each text of a concept the control text in its frame; texts left over are paired in order."""
    free: dict[str, list[int]] = {}
    for index, one in enumerate(concept.controls):
        free.setdefault(frame_of(one), []).append(index)
    pairs, left = [], []
    for index, one in enumerate(concept.examples):
        waiting = free.get(frame_of(one))
        if waiting:
            pairs.append((index, waiting.pop(0)))
        else:
            left.append(index)
    others = sorted(index for waiting in free.values() for index in waiting)
    # A frame may be worded a little differently for its control word.
    pairs += zip(left, others, strict=False)
    return torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 2)


def read(
    session: Session, readings: Readings, frequencies: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Which latents belong to each concept's word and to matched words, in the same frames.

    Belonging is by size, see [`Said.belongs`][tl_ext.analysis.crosslingual.Said]: against the control
    words of the language's first concept, for concepts and matched words alike, so that nothing tells a
    concept from another word but the word.

    Args:
        session: What is read.
        readings: Where firing rates come from.
        frequencies: `{language}/log_frequency` of the concepts' words and then of the matched words, by
            which the nearest are chosen; where there is none, by their number of tokens alone.

    Returns:
        For each language whose words share frames with control words: `{language}/matched`, which of
        the plan's matched words were read; and for each dictionary `{id}/{language}/word` and `latent`,
        the pairs that belong, words counted from the language's concepts on.
    """
    tensors: dict[str, Tensor] = {}
    for language in session.plan.languages:
        concepts = [one for one in session.concepts if one.language == language]
        chosen = _alike(session, language, concepts, frequencies.get(f"{language}/log_frequency"))
        words = [*concepts, *(session.matched[index] for index in chosen)]
        controls, texts = _same_frames(words)
        if not chosen or not controls:
            continue
        tensors[f"{language}/matched"] = torch.tensor(chosen)
        for id, members in _members(session, readings, language, controls, texts).items():
            word, latent = members.nonzero(as_tuple=True)
            tensors |= {
                f"{id}/{language}/word": word.int(),
                f"{id}/{language}/latent": latent.int(),
            }
    return tensors


def members(
    tensors: Mapping[str, Tensor], id: str, language: str, *, words: int, d_latent: int
) -> Bool[Tensor, "word d_latent"]:
    """Which latents of a dictionary belong to each word of a language, from what `read` gave."""
    found = torch.zeros(words, d_latent, dtype=torch.bool)
    name = f"{id}/{language}"
    found[tensors[f"{name}/word"].long(), tensors[f"{name}/latent"].long()] = True
    return found


def _alike(
    session: Session, language: str, concepts: Sequence[Concept], frequencies: Tensor | None
) -> list[int]:
    """The matched words of a language with nearly as many tokens as the concepts', and as frequent.

    Words of several tokens share latents of their pieces, in whatever language they are, and a frequent
    word has more latents of its own.
    """
    indices = [index for index, one in enumerate(session.matched) if one.language == language]
    aimed = _mean_tokens(session, concepts)
    longer = {
        index: abs(_mean_tokens(session, [session.matched[index]]) - aimed) for index in indices
    }
    if frequencies is None:
        return _nearest(indices, longer, WORDS)
    own, others = frequencies[: len(concepts)], frequencies[len(concepts) :]
    apart = dict(zip(indices, (others[:, None] - own).abs().amin(1).tolist(), strict=True))
    return _nearest(_nearest(indices, longer, 2 * WORDS), apart, WORDS)


def _nearest(given: Sequence[int], apart: Mapping[int, float], count: int) -> list[int]:
    """The so many that are least apart, in their order; of those equally far the first."""
    return sorted(sorted(given, key=lambda index: apart[index])[:count])


def _mean_tokens(session: Session, concepts: Sequence[Concept]) -> float:
    examples = [example for concept in concepts for example in concept.examples]
    return float(word_tokens(session.model, examples).double().mean())


def _spread(given: Sequence[int], count: int) -> list[int]:
    """At most so many of them, evenly spread over their order."""
    if len(given) <= count:
        return list(given)
    return [given[place * len(given) // count] for place in range(count)]


def _same_frames(words: Sequence[Concept]) -> tuple[list[Example], list[list[Example]]]:
    """Control texts in the frames that all words share, and each word's texts in those frames."""
    if not words:
        return [], []
    control = {frame_of(one): one for one in words[0].controls}
    own, others = in_shared_frames(words[0], words[1:])
    usable = [place for place, one in enumerate(own) if frame_of(one) in control]
    usable = _spread(usable, FRAMES)
    return (
        [control[frame_of(own[place])] for place in usable],
        [[group[place] for place in usable] for group in (own, *others)],
    )


def _members(
    session: Session,
    readings: Readings,
    language: str,
    controls: Sequence[Example],
    texts: Sequence[Sequence[Example]],
) -> dict[str, Bool[Tensor, "word d_latent"]]:
    frames = len(controls)
    tokens = word_tokens(session.model, list(chain.from_iterable(texts))).reshape(-1, frames)
    at_controls = _read(session, controls)
    parts: dict[str, list[Tensor]] = {id: [] for id in session.dictionaries}
    step = max(1, texts_at_once(session.dictionaries) // frames)
    label = session.bar(f"belonging, {language}")
    with tqdm(total=len(texts), desc=label, unit="word", disable=label is None) as bar:
        for start in range(0, len(texts), step):
            some = texts[start : start + step]
            latents = _read(session, list(chain.from_iterable(some)))
            for id in session.dictionaries:
                parts[id] += _belonging(
                    latents[id].split(frames),
                    at_controls[id],
                    [
                        firing_chance(readings.firing_rate(id), readings.tokens, each)
                        for each in tokens[start : start + step]
                    ],
                )
            bar.update(len(some))
    return {id: torch.stack(rows) for id, rows in parts.items()}


def _belonging(
    words: Sequence[Tensor], controls: Tensor, chances: Sequence[Tensor]
) -> Iterator[Tensor]:
    for latents, chance in zip(words, chances, strict=True):
        yield Said(latents, controls, chance).belongs()[0]


def _read(session: Session, examples: Sequence[Example]) -> dict[str, Tensor]:
    return word_latents(
        session.model,
        session.dictionaries,
        examples,
        over_tokens="mean",
        batch_size=session.batch_size,
    )
