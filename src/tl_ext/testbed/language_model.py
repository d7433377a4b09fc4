"""The embedded language model itself: GPT-2's architecture, small, trained on the documents.

Training is determined by the seed on one machine with one thread count; elsewhere sums are taken in
another order and round differently, so a rebuilt model is as good but not the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from tl_ext.testbed.corpus import Document, Pair, documents


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The size of the model.

    Attributes:
        layers: Transformer blocks.
        width: Dimensions of the residual stream.
        heads: Attention heads in a layer, of `width / heads` dimensions each.
        context_length: Positions, the first of which holds the end-of-text token.
    """

    layers: int = 6
    width: int = 192
    heads: int = 6
    context_length: int = 128


@dataclass(frozen=True, slots=True)
class ModelTraining:
    """How the model is trained; the defaults are those of the shipped weights.

    Attributes:
        steps: Updates of the weights.
        rows_per_step: Packed rows in an update, of `context_length` cells each.
        learning_rate: The highest one.
        warm_up_steps: Updates before it is reached.
        final_learning_rate_share: Share of it that the last update has.
        weight_decay: Of matrices; biases and norms have none.
        dropout: Share dropped of embeddings and of what each layer writes. Attention patterns keep all
            of theirs, since dropping there forgoes torch's fused attention and half the speed.
        evaluate_every: Updates between two looks at the held-out loss.
        autocast: A torch dtype's name to compute products in, or None for float32 throughout (a
            quarter slower). Weights, their updates and all evaluation are float32 either way.
    """

    steps: int = 1600
    rows_per_step: int = 16
    learning_rate: float = 2e-3
    warm_up_steps: int = 100
    final_learning_rate_share: float = 0.05
    weight_decay: float = 0.1
    dropout: float = 0.1
    evaluate_every: int = 200
    autocast: str | None = "bfloat16"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model and how it got there.

    Attributes:
        model: The weights with the lowest held-out loss, float32, in evaluation mode.
        held_out_losses: Updates done to mean held-out loss, in nats per token.
        tokens_seen: Tokens trained on, repetitions counted, end-of-text tokens not.
    """

    model: GPT2LMHeadModel
    held_out_losses: dict[int, float]
    tokens_seen: int


def new_model(tokenizer: PreTrainedTokenizerBase, shape: ModelShape) -> GPT2LMHeadModel:
    """A GPT-2 with freshly drawn weights (from torch's global generator) and tied embeddings."""
    end_of_text = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.context_length,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        # GPT-2's 0.02 is for width 768 and more; here it would leave attention flat for long.
        initializer_range=0.04,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    return GPT2LMHeadModel(config)


def packed_rows(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Document], context_length: int
) -> Int[Tensor, "row cell"]:
    """Whole documents laid side by side in rows, each behind an end-of-text token of its own.

    Nothing of the neighbourhood reaches the model: `documents_apart` gives each document its own
    positions and keeps attention inside it. The end-of-text token of the next document serves as the
    last token to be predicted of the one before. A document that is too long is cut.

    Args:
        tokenizer: Of the model.
        texts: In the order in which they are to fill rows.
        context_length: Tokens of a document at most, its end-of-text token included.

    Returns:
        Token ids in rows of `context_length + 1` cells, free cells at the end filled up with
        end-of-text tokens.
    """
    end_of_text = tokenizer.eos_token_id
    width = context_length + 1
    rows: list[list[int]] = []
    open_rows: list[list[int]] = []
    for ids in tokenizer([text.text for text in texts], verbose=False)["input_ids"]:
        document = [end_of_text, *ids[: context_length - 1]]
        # The first of a few begun rows with room enough; more of them would sort documents by length.
        row = next((row for row in open_rows if len(row) + len(document) < width), None)
        if row is None:
            row = []
            rows.append(row)
            open_rows = [*open_rows[-7:], row]
        row += document
    return torch.tensor([row + [end_of_text] * (width - len(row)) for row in rows])


def documents_apart(
    ids: Int[Tensor, "row cell"], end_of_text: int
) -> tuple[Int[Tensor, "row cell"], Bool[Tensor, "row 1 cell cell"]]:
    """Positions that begin anew at every end-of-text token, and a mask that lets no cell see another
    document or what comes after it."""
    begins = ids == end_of_text
    cells = torch.arange(ids.shape[1]).expand_as(ids)
    positions = cells - torch.where(begins, cells, 0).cummax(dim=1).values
    document = begins.cumsum(dim=1)
    same = document[:, :, None] == document[:, None, :]
    return positions, (same & (cells[:, :, None] >= cells[:, None, :]))[:, None]


def train_model(
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    *,
    shape: ModelShape | None = None,
    training: ModelTraining | None = None,
    seed: int = 0,
    progress: bool = True,
) -> TrainedModel:
    """Train a language model and keep the weights that judge the held-out documents best.

    AdamW with a linear warm-up and a cosine decline; every pass over the pairs makes new documents
    of them, so that the model sees a sentence in new company each time.

    Args:
        tokenizer: Learned on `train`.
        train: Pairs to learn from.
        held_out: Pairs to judge by; made into documents of the same mixture once.
        shape: Size of the model.
        training: How long and how fast.
        seed: Draws the weights, the documents and the dropout.
        progress: Show a bar with the losses.

    Returns:
        The model in evaluation mode, float32, on the CPU.
    """
    from tqdm.auto import tqdm

    shape = shape or ModelShape()
    training = training or ModelTraining()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_model(tokenizer, shape)
        _prepare_for_training(model, training.dropout)
        held_out_rows = packed_rows(tokenizer, documents(held_out, seed=seed), shape.context_length)
        optimizer = torch.optim.AdamW(
            _decayed_and_not(model, training.weight_decay),
            lr=training.learning_rate,
            betas=(0.9, 0.95),
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_share(step, training)
        )
        batches = _batches(tokenizer, train, shape.context_length, training.rows_per_step, seed)
        tokens_seen = 0
        losses: dict[int, float] = {}
        best: dict[str, Tensor] = {}
        model.train()
        bar = tqdm(range(1, training.steps + 1), desc="language model", disable=not progress)
        for step in bar:
            rows = next(batches)
            tokens_seen += int((rows != tokenizer.eos_token_id).sum())
            loss = _loss(model, rows, training.autocast)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % training.evaluate_every == 0 or step == training.steps:
                losses[step] = held_out_loss(model, held_out_rows)
                bar.set_postfix(train=f"{loss.item():.3f}", held_out=f"{losses[step]:.3f}")
                if losses[step] == min(losses.values()):
                    best = {name: value.clone() for name, value in model.state_dict().items()}
        # A fresh one, without what training put into its modules.
        plain = GPT2LMHeadModel(model.config)
        plain.load_state_dict(best)
    return TrainedModel(
        model=plain.train(False),
        held_out_losses=losses,
        tokens_seen=tokens_seen,
    )


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, rows: Tensor, *, rows_at_once: int = 32) -> float:
    """Mean cross-entropy of the next token over packed rows, in nats, without dropout."""
    was_training = model.training
    model.train(False)
    chunks = torch.split(rows, rows_at_once)
    total = sum(float(_loss(model, chunk, None)) * len(chunk) for chunk in chunks)
    model.train(was_training)
    return total / len(rows)


def learning_rate_share(step: int, training: ModelTraining) -> float:
    """Share of the full learning rate at a step (counted from 0)."""
    if step < training.warm_up_steps:
        return (step + 1) / training.warm_up_steps
    left = max(1, training.steps - training.warm_up_steps)
    done = min(1.0, (step - training.warm_up_steps) / left)
    floor = training.final_learning_rate_share
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def _loss(
    model: GPT2LMHeadModel, rows: Int[Tensor, "row cell"], autocast: str | None
) -> Float[Tensor, ""]:
    """Mean next-token cross-entropy over packed rows; filled-up cells do not count."""
    inputs, wanted = rows[:, :-1], rows[:, 1:]
    end_of_text = int(rows[0, 0])  # every row begins with it
    positions, mask = documents_apart(inputs, end_of_text)
    free = (inputs == end_of_text) & (wanted == end_of_text)
    dtype = getattr(torch, autocast) if autocast else torch.float32
    with torch.autocast("cpu", dtype=dtype, enabled=autocast is not None):
        logits = model(inputs, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.masked_fill(free, -100).flatten()
    )


def _batches(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    context_length: int,
    rows_per_step: int,
    seed: int,
) -> Iterator[Tensor]:
    """Batches of packed rows without end; each pass over the pairs has documents of its own."""
    left = torch.empty(0, context_length + 1, dtype=torch.long)
    passes = 0
    while True:
        while len(left) < rows_per_step:
            # Seeds of passes must not meet those of a neighbouring build seed.
            texts = documents(pairs, seed=seed * 100_003 + passes)
            rows = packed_rows(tokenizer, texts, context_length)
            left = torch.cat([left, rows[torch.randperm(len(rows))]])
            passes += 1
        yield left[:rows_per_step]
        left = left[rows_per_step:]


def _decayed_and_not(model: GPT2LMHeadModel, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed, biases and LayerNorm weights are not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _prepare_for_training(model: GPT2LMHeadModel, dropout: float) -> None:
    """Set the dropout, and compute GELU's tanh form in one pass over memory instead of eight.

    Neither is part of the saved configuration: dropout is over then, and GPT-2's `gelu_new` is
    the same function up to rounding.
    """
    for name, module in model.named_modules():
        if name.endswith("mlp"):
            module.act = torch.nn.GELU(approximate="tanh")
        elif isinstance(module, torch.nn.Dropout) and not name.endswith("attn_dropout"):
            module.p = dropout


def store_model(model: GPT2LMHeadModel, folder: Path) -> None:
    """Save a checkpoint that `AutoModelForCausalLM.from_pretrained` reads, weights as float16.

    `config.json` goes on saying float32, so that whoever loads the model computes in that.

    Args:
        model: In float32.
        folder: Receives `config.json`, `generation_config.json` and `model.safetensors`.
    """
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = {name: value.half() for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
