"""What tests of dictionaries on both families share: tiny folders, texts, small runs of SAELens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import tl_ext

FAMILIES = ("chatglm", "qwen2")
HOOK_POINTS = ("blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z")
FIXES = (
    "documents-not-separated-without-bos",
    "prefix-not-excluded",
    "zero-ablation-of-excluded-tokens",
)


def write_folder(folder: Path, family: str) -> Path:
    """A tiny checkpoint as it is published, with its tokenizer; heads are not `d_model` wide."""
    if family == "chatglm":
        from tests.models.chatglm.checkpoints import write_checkpoint
        from tests.models.chatglm.tiny_tokenizer import write_sentencepiece

        write_checkpoint(folder, padded_vocab_size=448, kv_channels=12)
        return write_sentencepiece(folder)
    from tests.models.qwen2 import checkpoints

    checkpoints.write(folder, "Qwen2ForCausalLM", head_dim=8)
    return folder


def documents(n: int, *, seed: int = 0) -> list[str]:
    """Texts of 1 to 12 words that the tiny tokenizers know, and some they have to spell out."""
    words = (
        "The cat sat on the mat happy world today chat content heureux Le est 猫 很高兴 快乐 zygote 42"
    ).split()
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(n)]


def width_at(model: Any, hook_point: str) -> int:
    """How wide an activation is there, heads side by side."""
    cfg = model.cfg
    return int(cfg.n_heads * cfg.d_head if hook_point.endswith("hook_z") else cfg.d_model)


def assert_steers(model: Any, dictionary: Any) -> None:
    """Adding a latent's direction moves the output, its reverse moves it the other way."""
    texts = tl_ext.batch(model, ["The cat sat on the mat", "world today 42"])

    def logits(strength: float) -> torch.Tensor:
        vector = tl_ext.latent_vector(dictionary, 3, 1.0)
        with torch.no_grad(), tl_ext.applied(model, vector.at(strength)):
            out: torch.Tensor = model(texts.ids, **texts.forward_arguments())
        return out[texts.content]

    forth, back = logits(0.05) - logits(0.0), logits(-0.05) - logits(0.0)
    assert forth.abs().max() > 1e-3
    assert torch.nn.functional.cosine_similarity(forth.flatten(), back.flatten(), dim=0) < -0.9
    vector = tl_ext.latent_vector(dictionary, 3, 1.0)
    plain, steered = (
        tl_ext.steer(model, ["The cat"], edits, max_new_tokens=6, temperature=0)
        for edits in ((), vector.at(40.0))
    )
    assert plain.texts != steered.texts


def config_of(hook_point: str, d_in: int, *, steps: int = 100, **changes: Any) -> Any:
    """A run of a hundred steps, without files or messages."""
    from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig, TopKTrainingSAEConfig

    settings: dict[str, Any] = {
        "sae": TopKTrainingSAEConfig(d_in=d_in, d_sae=2 * d_in, k=8),
        "model_class_name": "TransformerBridge",
        "model_name": "tiny",
        "hook_name": hook_point,
        "is_dataset_tokenized": False,
        "exclude_special_tokens": True,
        "context_size": 32,
        "store_batch_size_prompts": 8,
        "n_batches_in_buffer": 16,
        "train_batch_size_tokens": 64,
        "training_tokens": 64 * steps,
        "lr": 4e-3,
        "logger": LoggingConfig(log_to_wandb=False),
        "checkpoint_path": None,
        "output_path": None,
        "verbose": False,
    }
    return LanguageModelSAERunnerConfig(**settings | changes)


def data(texts: Sequence[str]) -> Any:
    """Plain text as SAELens takes it."""
    from datasets import Dataset

    return Dataset.from_dict({"text": list(texts)})


def identity_sae(hook_point: str, d_in: int) -> Any:
    """A dictionary of SAELens' that gives back what it reads: one latent for each sign."""
    eye = torch.eye(d_in)
    return _standard(hook_point, W_enc=torch.cat([eye, -eye], dim=1), W_dec=torch.cat([eye, -eye]))


def zero_sae(hook_point: str, d_in: int) -> Any:
    """A dictionary of SAELens' that reconstructs nothing."""
    return _standard(hook_point, W_enc=torch.zeros(d_in, 2), W_dec=torch.zeros(2, d_in))


def _standard(hook_point: str, *, W_enc: torch.Tensor, W_dec: torch.Tensor) -> Any:
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    d_in, d_sae = W_enc.shape
    metadata = SAEMetadata(hook_name=hook_point)
    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=d_sae, metadata=metadata))
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": torch.zeros(d_sae)}
    sae.load_state_dict(weights | {"b_dec": torch.zeros(d_in)})
    return sae
