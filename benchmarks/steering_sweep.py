"""A steering sweep against a loop of upstream's `generate` with a hook, a condition at a time.

    python benchmarks/steering_sweep.py [--threads 2] [--repeats 1]

4 vectors x 6 strengths x 16 prompts x 2 samples x 24 tokens on the shipped model, and the unsteered
model once. Aim: the sweep without its random directions takes under 60 s on two cores, everything
scored. The rival only generates: no stop tokens, no scores, no controls; `steer_each` is timed on the
same work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tl_ext.models.loading import load_model
from tl_ext.models.tokens import batch
from tl_ext.steering.generation import steer_each
from tl_ext.steering.sweep import steering_sweep
from tl_ext.steering.vectors import tensor_vector

POINT = "blocks.3.hook_resid_pre"
STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
SAMPLES, NEW_TOKENS = 2, 24
ENDS = ("here", "there", "now", "out", "in", "on", "up", "so")
PROMPTS = [f"{who} {end} and" for who in ("I am", "We are") for end in ENDS]
WORDS = [" happy", " glad", " joyful", " cheerful", " delighted", " pleased"]
AGAINST = [" sad", " unhappy", " gloomy", " miserable", " sorrowful", " upset"]
NEUTRAL = [
    f"The {thing} is {where}."
    for thing in ("book", "train", "table", "office")
    for where in ("in the city", "near the river", "behind the old house", "at the end of the road")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model("testbed")
    generator = torch.Generator().manual_seed(0)
    # Of different lengths, or their random controls would be the same and computed once.
    vectors = [
        tensor_vector(
            torch.randn(model.cfg.d_model, generator=generator),
            POINT,
            unit=3.5 + n / 2,
            name=str(n),
        )
        for n in range(4)
    ]
    conditions: list[Any] = [(), *(one.at(s) for one in vectors for s in STRENGTHS)]
    # Equal lengths, so that upstream's way of padding is no part of the comparison.
    ids = batch(model, PROMPTS).ids
    width = int(batch(model, PROMPTS).mask.sum(-1).min())
    ids = ids[:, :width].repeat_interleave(SAMPLES, 0)
    prompts = model.tokenizer.batch_decode(ids[::SAMPLES, 1:], clean_up_tokenization_spaces=False)

    def upstream() -> None:
        for condition in conditions:
            hooks = []
            if condition:
                vector = condition.vector
                hooks = [(POINT, lambda x, hook, vector=vector: x + vector)]
            with torch.no_grad(), model.hooks(fwd_hooks=hooks):
                model.generate(
                    ids,
                    max_new_tokens=NEW_TOKENS,
                    stop_at_eos=False,
                    do_sample=True,
                    verbose=False,
                    return_type="tokens",
                )

    def ours(log_probs: str) -> None:
        steer_each(
            model,
            prompts,
            conditions,
            samples=SAMPLES,
            max_new_tokens=NEW_TOKENS,
            stop_ids=(),
            log_probs=log_probs,  # type: ignore[arg-type]
            batch_size=256,
        )

    def sweep(random: int) -> None:
        steering_sweep(
            model,
            vectors,
            STRENGTHS,
            prompts,
            words=WORDS,
            against=AGAINST,
            neutral_texts=NEUTRAL,
            language="en",
            samples=SAMPLES,
            max_new_tokens=NEW_TOKENS,
            random=random,
        )

    tasks: dict[str, Callable[[], None]] = {
        "upstream generate, a condition at a time": upstream,
        "steer_each, the same work": partial(ours, "steered"),
        "  and unsteered log-probabilities": partial(ours, "both"),
        "steering_sweep, scored, with reverses": partial(sweep, 0),
        "  and 3 random directions a vector": partial(sweep, 3),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(options.repeats):
        for name, task in tasks.items():
            begin = time.perf_counter(), time.process_time()
            task()
            times[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    print(
        f"{len(conditions)} conditions x {len(prompts)} prompts x {SAMPLES} samples x {NEW_TOKENS} "
        f"tokens; {options.threads} threads; medians of {options.repeats}"
    )
    base = times["upstream generate, a condition at a time"]
    print(f"{'':<42}{'seconds':>9}{'of the processor':>18}{'to upstream':>13}")
    for name, taken in times.items():
        # Of the processor: what others do on the machine moves the ratio less.
        ratio = statistics.median(own[1] / other[1] for own, other in zip(taken, base, strict=True))
        wall, processor = (statistics.median(each) for each in zip(*taken, strict=True))
        print(f"{name:<42}{wall:>9.1f}{processor:>18.1f}{ratio:>11.2f} x")


if __name__ == "__main__":
    main()
