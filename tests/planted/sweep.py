"""A tiny hooked model whose answer to steering is planted.

One direction pushes the concept's words up, reversed it pushes them down, and beyond a known strength
it breaks the text: the best strength is known. Another pushes the same words up whichever way it is
turned, so that nothing about it may be called a direction of the concept.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from tl_ext.steering.sweep import steering_sweep
from tl_ext.steering.sweeps import Sweep
from tl_ext.steering.vectors import SteeringVector, tensor_vector

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

POINT = "blocks.0.hook_resid_pre"
CONCEPT, OPPOSITE, JUNK = ("happy", "glad"), ("sad", "upset"), "table"
PLAIN = tuple(
    "the and with from they have this that then when where people house little very only after "
    "before because through their about which would there water again other small great never always "
    "until should between under while".split()
)
WIDTH, SCALE = 32, 20.0
GAIN = 1.5  # nats of a concept word's logit at strength 1
BREAKS_AT = 2.5  # beyond this strength nothing but junk is written
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0)
BEST = 2.0  # the largest strength below the one that breaks it


@cache
def planted_model() -> TransformerBridge:
    """One layer without attention; the next word does not depend on those before it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from tl_ext.models.loading import load_model

    words = ("<eos>", *CONCEPT, *OPPOSITE, JUNK, *PLAIN)
    number = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(number, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = {"bos_token": "<eos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    state = torch.random.get_rng_state()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(words),
            n_embd=WIDTH,
            n_inner=3,
            n_layer=1,
            n_head=1,
            n_positions=64,
            activation_function="relu",
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    ).eval()
    torch.random.set_rng_state(state)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
    # A large constant keeps the norms' divisor nearly so: what is added passes through as it is.
    pattern = SCALE * torch.tensor([1.0, -1.0]).repeat(WIDTH // 2)
    pattern[:2] = 0
    std = float(pattern.std(correction=0))
    model.transformer.wte.weight.data += pattern
    block, head = model.transformer.h[0], model.lm_head.weight.data
    read, bias = block.mlp.c_fc.weight.data, block.mlp.c_fc.bias.data  # [d_in hidden]
    write = block.mlp.c_proj.weight.data  # [hidden d_out]
    read[0, 0], bias[0] = std, -BREAKS_AT
    read[1, 1], read[1, 2] = std, -std
    write[0, 2] = 1.0  # what breaks the text
    write[1, 3] = write[2, 3] = 1.0  # the length of the second direction, whichever way it points
    for word, sign in [(one, 1.0) for one in CONCEPT] + [(one, -1.0) for one in OPPOSITE]:
        head[number[word], 0] = sign * GAIN * std
        head[number[word], 3] = sign * GAIN * std
        # The constant is in these places too; the other one of the pair takes it out.
        head[number[word], 5] = -sign * GAIN * std
    head[number[JUNK], 2], head[number[JUNK], 4] = 30 * std, -30 * std
    head[0, 6] = -20.0
    model.config.architectures = ["GPT2LMHeadModel"]
    return load_model(model, tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends))


def direction(axis: int, name: str) -> SteeringVector:
    """A planted direction: 0 is the concept's, 1 the one whose reverse acts alike."""
    return tensor_vector(torch.eye(WIDTH)[axis], POINT, unit=1.0, unit_name="unit", name=name)


@cache
def planted_sweep(axis: int, *, prompts: int = 4, seed: int = 0, random: int = 3) -> Sweep:
    """The sweep of a planted direction; names of the concept's words are its word list."""
    given: dict[str, Any] = {
        "words": [f" {word}" for word in CONCEPT],
        "against": [f" {word}" for word in OPPOSITE],
        "neutral_texts": ["the people have water", "this house would never"],
        "language": "en",
        "max_new_tokens": 12,
    }
    return steering_sweep(
        planted_model(),
        [direction(axis, "planted")],
        STRENGTHS,
        [f"they {word}" for word in PLAIN[:prompts]],
        seed=seed,
        random=random,
        **given,
    )
