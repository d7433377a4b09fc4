"""A tiny transformer trained in seconds on the made-up languages, and a dictionary of it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from tests.dictionaries.saved import config_of
from tests.planted import grammar
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    from tl_ext.dictionaries.sparse import SparseDictionary

WIDTH, LAYERS, HEADS = 48, 2, 4
STEPS, WARM_UP, BATCH = 350, 30, 128
HOOK_POINT = "blocks.1.hook_resid_pre"
ECHO = 5  # where the echo stands, the first token being 0
LATENTS, ACTIVE, UPDATES = 128, 6, 600


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; padding, BOS and EOS are one token, as for GPT-2."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<eos>", *grammar.vocabulary()])}
    made = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<eos>", eos_token="<eos>", pad_token="<eos>"
    )


@cache
def trained() -> TransformerBridge:
    """The hooked model, trained once a process: leave it as it was."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from tl_ext.models.loading import load_model

    words = tokenizer()
    texts = grammar.documents(BATCH * 64, seed=0)
    ids = torch.tensor(words([f"<eos> {text}" for text in texts])["input_ids"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(words),
                n_embd=WIDTH,
                n_layer=LAYERS,
                n_head=HEADS,
                n_positions=32,
                bos_token_id=0,
                eos_token_id=0,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                initializer_range=0.1,  # so narrow a model learns slowly from the usual 0.02
            )
        )
        optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min(1.0, (step + 1) / WARM_UP) * max(0.05, 1 - step / STEPS)
        )
        for _ in range(STEPS):
            part = ids[torch.randint(len(ids), (BATCH,))]
            told = part.clone()
            # The echo is what there is to learn; the other words are drawn at random, and a quarter of
            # the texts is enough to learn that.
            told[BATCH // 4 :, 1:ECHO] = -100
            loss = model(input_ids=part, labels=told).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.config.architectures = ["GPT2LMHeadModel"]
    return load_model(model.eval(), tokenizer=words)


def activations(texts: list[str]) -> Float[Tensor, "row width"]:
    """What the dictionary reads, at every word of the texts."""
    from tl_ext.activations.capture import capture

    return capture(trained(), texts, [HOOK_POINT]).activations[HOOK_POINT]


@cache
def dictionary() -> SparseDictionary:
    """A top-k dictionary of the second layer's input, trained on the model's own activations."""
    from tl_ext.dictionaries import folders

    rows = activations(grammar.documents(1500, seed=1))
    config = config_of(
        "topk",
        d_in=WIDTH,
        d_sae=LATENTS,
        k=ACTIVE,
        metadata={"model_name": "planted", "hook_name": HOOK_POINT, "processing": "raw"},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bias = rows.mean(0)
        drawn = rows[torch.randint(len(rows), (LATENTS,))] - bias
        W_dec = torch.nn.functional.normalize(drawn, dim=-1)
        weights = {"W_enc": W_dec.T.clone(), "W_dec": W_dec, "b_dec": bias}
        weights["b_enc"] = torch.zeros(LATENTS)
        for one in weights.values():
            one.requires_grad_(True)
        optimiser = torch.optim.Adam(weights.values(), lr=3e-3)
        for _ in range(UPDATES):
            x = rows[torch.randint(len(rows), (512,))]
            before = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
            best = before.topk(ACTIVE)
            latents = torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())
            loss = (latents @ weights["W_dec"] + weights["b_dec"] - x).square().sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                weights["W_dec"] /= weights["W_dec"].norm(dim=-1, keepdim=True)
    parsed = folders.parse_config(config, where="planted")
    return folders.build(parsed, {name: one.detach() for name, one in weights.items()})
