"""Concept activations of 40 texts at every layer, against a loop over texts.

The loop is what one writes in a notebook: `run_with_cache` of one text at a time, `encode` of the whole
sequence by every dictionary, then the word's position. Both sides do the same work in one run, in turn,
and must find the same numbers.

    python benchmarks/concept_activations.py [--repeats 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from tl_ext.concepts import emotions
from tl_ext.concepts.spans import word_spans
from tl_ext.dictionaries.loading import load_dictionaries
from tl_ext.dictionaries.reading import word_latents
from tl_ext.models.loading import load_model
from tl_ext.models.tokens import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.concepts.concept import Example
    from tl_ext.dictionaries.dictionary import Dictionary

TEXTS = 40


def one_text_at_a_time(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary],
    examples: Sequence[Example],
    hook_points: Sequence[str] | None,
) -> dict[str, torch.Tensor]:
    """The loop; `hook_points` narrows the cache, None caches everything as the exploration did."""
    rows: dict[str, list[torch.Tensor]] = {id: [] for id in dictionaries}
    head = prefix_ids(model.tokenizer)
    for example in examples:
        ids = model.tokenizer(example.text, add_special_tokens=False)["input_ids"]
        names = None if hook_points is None else list(hook_points)
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([head + ids]), names_filter=names)
        spans = word_spans(model.tokenizer, example.text, example.word)
        for id, dictionary in dictionaries.items():
            latents = dictionary.encode(cache[dictionary.hook_in].flatten(2)[0])
            occurrences = [
                latents[len(head) + start : len(head) + end].sum(0) for start, end in spans
            ]
            rows[id].append(torch.stack(occurrences).mean(0))
    return {id: torch.stack(several) for id, several in rows.items()}


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, dictionaries = load_model("testbed"), load_dictionaries("testbed://")
    examples = [one for concept in emotions.concepts() for one in concept.examples][:TEXTS]
    points = dictionaries.hook_points

    ways: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
        "tl_ext": lambda: word_latents(model, dictionaries, examples, batch_size=TEXTS),
        "loop, only the hook points": lambda: one_text_at_a_time(
            model, dictionaries, examples, points
        ),
        "loop, everything cached": lambda: one_text_at_a_time(model, dictionaries, examples, None),
    }
    found = {name: run() for name, run in ways.items()}  # warm-up, and the same numbers
    for id in dictionaries:
        for other in found.values():
            torch.testing.assert_close(found["tl_ext"][id], other[id], atol=1e-3, rtol=1e-3)

    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, run in ways.items():
            times[name].append(seconds(run))
    print(
        f"{TEXTS} texts, {len(dictionaries)} dictionaries at {len(points)} hook points, "
        f"{options.threads} thread(s), median of {options.repeats}"
    )
    for name, measured in times.items():
        ratios = [one / ours for one, ours in zip(measured, times["tl_ext"], strict=True)]
        print(
            f"{name:<28} {1000 * statistics.median(measured):9.1f} ms"
            f"   {statistics.median(ratios):6.1f} x"
        )


if __name__ == "__main__":
    main()
