"""Keeping the highest contexts of every latent, at the size of GPT-2's dictionaries.

Twelve dictionaries of 24,576 latents take batch after batch of made-up activations, 60 latents active a
token, some of them often and most seldom. Printed are the memory they hold, which does not grow, and
the time a batch costs beside the one matrix product that encoding it takes.

    python benchmarks/latent_examples.py [--dictionaries 12] [--batches 8] [--threads 1]
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from tl_ext.activations.capture import CapturedBatch
from tl_ext.activations.stream import StreamedBatch
from tl_ext.dictionaries.tally import LatentTally, Piece
from tl_ext.models.tokens import Batch

LATENTS, WIDTH, ACTIVE = 24_576, 768, 60
TEXTS, TOKENS = 5, 128


def made_up(number: int, draw: torch.Generator) -> tuple[StreamedBatch, Piece]:
    """A batch of texts after a prefix of one token, and one dictionary's latents on it."""
    ids = torch.randint(0, 50_257, (TEXTS, TOKENS), generator=draw)
    tokens = Batch(
        ids=ids,
        mask=torch.ones_like(ids, dtype=torch.bool),
        positions=torch.arange(TOKENS).expand(TEXTS, TOKENS),
        offset=torch.ones(TEXTS, dtype=torch.long),
    )
    context, column = tokens.content.nonzero(as_tuple=True)
    often = torch.linspace(0, 1, LATENTS).pow(6) + 1e-6
    which = torch.multinomial(often.expand(len(context), -1), ACTIVE, generator=draw)
    latents = torch.zeros(len(context), LATENTS)
    values = torch.rand(len(context), ACTIVE, generator=draw).neg().log1p().neg()
    latents.scatter_(1, which, values)
    part = CapturedBatch(tokens, torch.arange(TEXTS) + number * TEXTS, {})
    return StreamedBatch(part, torch.zeros(TEXTS, dtype=torch.long)), Piece(
        latents, context, column
    )


def main() -> None:
    """Print memory and times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dictionaries", type=int, default=12)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tallies = [LatentTally(LATENTS, n=10, before=16, after=8) for _ in range(options.dictionaries)]
    held = sum(tally.bytes for tally in tallies)
    print(f"held: {held / 1e9:.2f} GB, {tallies[0].bytes / LATENTS:.0f} bytes a latent")
    draw, weight = torch.Generator().manual_seed(0), torch.randn(WIDTH, LATENTS)
    for number in range(options.batches):
        batch, piece = made_up(number, draw)
        start = time.perf_counter()
        for tally in tallies:
            tally.take(batch, piece)
        taken = (time.perf_counter() - start) / options.dictionaries
        x = torch.randn(len(piece.context), WIDTH)
        start = time.perf_counter()
        x @ weight
        encoded = time.perf_counter() - start
        print(
            f"batch {number} of {len(x)} tokens: {1e3 * taken:.0f} ms a dictionary, "
            f"{taken / encoded:.2f} of its encoding ({1e3 * encoded:.0f} ms)"
        )
    # Kilobytes on Linux, bytes on macOS.
    print(
        f"peak of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
