"""Steered generation against upstream's unsteered `generate`, side by side on one model.

    python benchmarks/steered_generation.py [--model NAME] [--repeats 7]

Prints medians over repeats, of the time and of its ratio to upstream's in the same turn. Aim: steered
takes 1.1x upstream's time or less. Without `--model` the shipped model is used; where it is not there,
a random one of its shape.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from tl_ext.models.loading import load_model
from tl_ext.steering.generation import steer
from tl_ext.steering.vectors import combine, tensor_vector

NEW_TOKENS = 24
PROMPTS = 16


def random_model() -> Any:
    """A GPT-2 of the shipped model's shape with random weights and a vocabulary of numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    size = 8192
    words = {"<eos>": 0} | {f"{number}": number for number in range(1, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=192, n_layer=6, n_head=6, n_positions=256)
    ).eval()
    model.config.architectures = ["GPT2LMHeadModel"]
    ends = {"bos_token": "<eos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    return load_model(model, tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends))


def take_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat; the tasks take turns, so that a slow minute is shared by all."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            if turn:  # the first turn warms up
                times[name].append(time.perf_counter() - begin)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.model is None:
        try:
            model = load_model("testbed")
        except Exception as error:
            print(
                f"The shipped model cannot be loaded ({error}); a random one of its shape is used."
            )
            model = random_model()
    else:
        model = load_model(options.model)
    tokenizer = model.tokenizer
    # Equal lengths, so that upstream's way of padding is no part of the comparison.
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, len(tokenizer), (PROMPTS, 11), generator=generator)
    prompts = [tokenizer.decode(row) for row in ids]
    rows = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    least = min(map(len, rows))
    prompts = [tokenizer.decode(row[:least]) for row in rows]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    input_ids = torch.tensor([begin + row[:least] for row in rows])
    layers, width = int(model.cfg.n_layers), int(model.cfg.d_model)
    directions = torch.randn(4, width, generator=generator)
    point = f"blocks.{layers // 2}.hook_resid_pre"
    vectors = [
        tensor_vector(each, point, unit=1.0, name=str(i)) for i, each in enumerate(directions)
    ]
    everywhere = [
        tensor_vector(directions[0], f"blocks.{layer}.hook_resid_pre", unit=1.0).at(0.5)
        for layer in range(layers)
    ]
    settings: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "stop_ids": ()}

    def upstream() -> None:
        with torch.no_grad():
            model.generate(
                input_ids,
                max_new_tokens=NEW_TOKENS,
                stop_at_eos=False,
                do_sample=True,
                verbose=False,
                return_type="tokens",
            )

    tasks: dict[str, Callable[[], object]] = {
        "upstream generate, unsteered": upstream,
        "steer, no edits": lambda: steer(model, prompts, **settings),
        "steer, one vector": lambda: steer(model, prompts, vectors[0].at(1.0), **settings),
        "  less the unsteered pass": lambda: steer(
            model, prompts, vectors[0].at(1.0), log_probs="steered", **settings
        ),
        "steer, four vectors as one": lambda: steer(
            model, prompts, combine(vectors).at(1.0), **settings
        ),
        "steer, one vector at each layer": lambda: steer(model, prompts, everywhere, **settings),
    }
    times = take_turns(tasks, options.repeats)
    base = times["upstream generate, unsteered"]
    print(
        f"{PROMPTS} prompts of {input_ids.shape[1]} tokens, {NEW_TOKENS} new tokens, {layers} layers "
        f"of width {width}, vocabulary {model.cfg.d_vocab}; medians of {options.repeats}"
    )
    for name, seconds in times.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        print(f"{name:<34}{1000 * statistics.median(seconds):9.1f} ms {ratio:7.2f} x")


if __name__ == "__main__":
    main()
