"""Dictionaries of the embedded model, trained with SAELens itself on activations captured once.

Every hook point that a study looks at has one: the residual stream before each layer, what the
attention heads of each layer hand to the output matrix, and what the middle layer's MLP writes. They
are trained as batch top-k dictionaries (so many latents active on average, more where a token needs
more) and saved by SAELens in its own folder format, in which such a dictionary becomes a JumpReLU one:
each latent has its threshold and is read without regard to the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tl_ext.activations.capture import iterate
from tl_ext.activations.store import replacing
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from sae_lens import BatchTopKTrainingSAE
    from transformer_lens.model_bridge import TransformerBridge

MODEL_NAME = "testbed"
"""The name by which a dictionary says which model it was trained on; `load_model` knows it."""


@dataclass(frozen=True, slots=True)
class DictionaryTraining:
    """How dictionaries are trained; the defaults are those of the shipped weights.

    Attributes:
        expansion: Latents per dimension of the activation.
        active_latents: Latents active at a token, on average.
        active_latents_at: The same for hook points that need another number. What the first layer's
            heads attend to is hardly ever one thing: 32 latents left 13 % of the variance of held-out
            activations unexplained there, above the aim of 10 %.
        captured_tokens: Tokens whose activations are captured, the same ones for all hook points.
        steps: Updates of the weights.
        tokens_per_step: Activations in an update.
        learning_rate: The highest one.
        warm_up_steps: Updates before it is reached.
        decay_share: Share of the updates, at the end, over which it falls to nothing.
        dead_after_steps: Updates without firing after which a latent gets the auxiliary loss.
        autocast: Compute products in bfloat16; weights and their updates stay float32.
    """

    expansion: int = 8
    active_latents: float = 32
    active_latents_at: Mapping[str, float] = field(
        default_factory=lambda: {"blocks.0.attn.hook_z": 48}
    )
    captured_tokens: int = 300_000
    steps: int = 800
    tokens_per_step: int = 1024
    learning_rate: float = 3e-3
    warm_up_steps: int = 50
    decay_share: float = 0.5
    dead_after_steps: int = 20
    autocast: bool = True


def hook_points(layers: int) -> tuple[str, ...]:
    """The hook points that have a dictionary, kind by kind in the order of the forward pass."""
    return (
        *(f"blocks.{layer}.hook_resid_pre" for layer in range(layers)),
        *(f"blocks.{layer}.attn.hook_z" for layer in range(layers)),
        f"blocks.{layers // 2}.hook_mlp_out",
    )


def capture_activations(
    model: TransformerBridge,
    texts: Sequence[str],
    folder: Path,
    *,
    points: Sequence[str],
    tokens: int,
    progress: bool = True,
) -> int:
    """Capture activations at all hook points in one pass and write one file for each.

    Each text stands alone in its row behind an end-of-text token, as the texts of a study do; rows are
    not packed as they were for the model's training. The first position is left out: its activations
    are of another size than all others.

    Args:
        model: The model, not processed, computing in float32.
        texts: Read from the first on until there are tokens enough, cut to the model's context.
        folder: Receives `<hook point>.safetensors`, each with `activations`, float16 `[token d_in]`.
        points: Where to read; heads at hook_z are laid side by side.
        tokens: To capture at most; fewer if the texts hold fewer.
        progress: Show a bar.

    Returns:
        How many tokens were captured.

    Raises:
        InputError: Activations that are not finite, or too large for float16.
    """
    context = int(model.cfg.n_ctx)
    lengths = [len(ids) for ids in model.tokenizer(list(texts), verbose=False)["input_ids"]]
    enough, chosen = 0, 0
    while chosen < len(lengths) and enough < tokens:
        enough += min(lengths[chosen], context - 1)
        chosen += 1
    parts: dict[str, list[Tensor]] = {point: [] for point in points}
    for part in iterate(
        model,
        texts[:chosen],
        points,
        max_tokens=context,
        progress="activations" if progress else None,
    ):
        content = part.batch.content
        for point in points:
            # float16 halves what is held; its rounding is far below what a dictionary leaves out.
            parts[point].append(part.activations[point][content].half())
    count = 0
    for point in points:
        activations = torch.cat(parts.pop(point))
        if not activations.isfinite().all():
            raise InputError(
                f"Activations at {point} are not finite in float16: the model's weights are broken, "
                "or its activations exceed 65504. Train it anew, or with a lower learning rate."
            )
        count = len(activations)
        with replacing(folder / f"{point}.safetensors") as file:
            save_file({"activations": activations}, file)
    return count


def captured(folder: Path, point: str) -> Float[Tensor, "token d_in"]:
    """What `capture_activations` wrote for a hook point, as float32."""
    return load_file(folder / f"{point}.safetensors")["activations"].float()


def train_dictionary(
    activations: Float[Tensor, "token d_in"],
    point: str,
    *,
    context_length: int,
    training: DictionaryTraining | None = None,
    seed: int = 0,
) -> BatchTopKTrainingSAE:
    """Train one dictionary with SAELens' own trainer, which shows its own progress bar.

    Args:
        activations: In any order (they are shuffled here), float32.
        point: The hook point they are from; goes into the dictionary's metadata.
        context_length: Of the model; goes into the metadata.
        training: How long and how fast.
        seed: Draws the first weights and the order of the tokens.

    Raises:
        InputError: Fewer tokens than one update takes.
    """
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    training = training or DictionaryTraining()
    if len(activations) < training.tokens_per_step:
        raise InputError(
            f"{point} has activations of {len(activations)} tokens and one update takes "
            f"{training.tokens_per_step}. Give more pairs, or set tokens_per_step lower."
        )
    d_in = activations.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dictionary = BatchTopKTrainingSAE(
            BatchTopKTrainingSAEConfig(
                d_in=d_in,
                d_sae=d_in * training.expansion,
                k=training.active_latents_at.get(point, training.active_latents),
                normalize_activations="expected_average_only_in",
                reshape_activations="hook_z" if point.endswith("hook_z") else "none",
                metadata=SAEMetadata(
                    model_name=MODEL_NAME,
                    model_class_name="TransformerBridge",
                    hook_name=point,
                    hook_head_index=None,
                    context_size=context_length,
                    prepend_bos=True,
                    # In SAELens' words: from position 1 on, the first one was left out.
                    seqpos_slice=[1, None],
                    model_from_pretrained_kwargs={},
                    processing="raw",
                ),
            )
        )
        _begin_at_the_data(dictionary, activations)
        trainer = SAETrainer(
            SAETrainerConfig(
                total_training_samples=training.steps * training.tokens_per_step,
                train_batch_size_samples=training.tokens_per_step,
                lr=training.learning_rate,
                lr_end=training.learning_rate,  # must be given; the decay goes to nothing anyway
                lr_warm_up_steps=training.warm_up_steps,
                lr_decay_steps=int(training.steps * training.decay_share),
                dead_feature_window=training.dead_after_steps,
                autocast=training.autocast,
                n_batches_for_norm_estimate=min(50, training.steps),
            ),
            dictionary,
            _shuffled(activations, training.tokens_per_step),
        )
        return trainer.fit()


@torch.no_grad()
def _begin_at_the_data(
    dictionary: BatchTopKTrainingSAE, activations: Float[Tensor, "token d_in"]
) -> None:
    """First weights that spare training the way to where the activations are.

    The bias begins at their mean, in the scale to which SAELens is about to bring them, and each latent
    looks for one activation drawn at random. Latents that begin in random directions meet nothing of
    their own, and many of them never fire.
    """
    d_latent, d_in = dictionary.W_dec.shape
    mean = activations.mean(dim=0)
    dictionary.b_dec.data = mean * (math.sqrt(d_in) / activations.norm(dim=1).mean())
    drawn = activations[torch.randint(len(activations), (d_latent,))] - mean
    length = dictionary.cfg.decoder_init_norm
    dictionary.W_dec.data = torch.nn.functional.normalize(drawn, dim=1) * length
    dictionary.W_enc.data = dictionary.W_dec.data.T.clone().contiguous()


def store_dictionary(dictionary: BatchTopKTrainingSAE, folder: Path) -> None:
    """Save in SAELens' folder format, with the weights rounded to float16.

    `cfg.json` goes on saying float32, the type that SAELens and our readers compute in.

    Args:
        dictionary: As `train_dictionary` returned it.
        folder: Receives `cfg.json` and `sae_weights.safetensors`.
    """
    weights_file, _ = dictionary.save_inference_model(folder)
    weights = load_file(weights_file)
    save_file({name: value.half().contiguous() for name, value in weights.items()}, weights_file)


def _shuffled(activations: Tensor, rows: int) -> Iterator[Float[Tensor, "token d_in"]]:
    """Batches of so many rows without end; every round is shuffled anew."""
    while True:
        order = torch.randperm(len(activations))
        for start in range(0, len(order) - rows + 1, rows):
            yield activations[order[start : start + rows]]
