"""Background text: what the model itself writes, drawn by seed.

Statistics such as "how often does this latent fire on ordinary text" need ordinary text, and the
sentences the model learned from are not shipped. What it samples from its own distribution stands in
for them, and must be called so wherever it is used. Nothing is kept between calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EMPTY_BATCHES = 20  # without a single text, before it is given up


def sample_background(
    model: TransformerBridge,
    count: int = 500,
    *,
    seed: int = 0,
    max_tokens: int = 48,
    temperature: float = 1.0,
    top_p: float = 0.95,
    batch_size: int = 256,
    progress: bool = False,
) -> list[str]:
    """Sample texts from a model, each from the prefix on that the model reads before a text.

    Where there is none, as for Qwen2, from the end-of-text token on. A text ends before the next
    end-of-text token or at `max_tokens`. Texts without a token or with nothing but space are drawn
    again. A seed gives the same texts again on one machine; a longer list begins with the same texts as
    long as `batch_size` is the same.

    Args:
        model: The embedded model, loaded with `load_model("testbed")`, or any other hooked Hugging
            Face model whose tokenizer has a prefix, such as a BOS token, or an eos token.
        count: How many texts.
        seed: Draws them; torch's global generator is not touched.
        max_tokens: Tokens of a text at most.
        temperature: Divides the logits; 1 samples what the model believes.
        top_p: Only the likeliest tokens that together have this probability are drawn from.
        batch_size: Texts sampled side by side.
        progress: Show a bar.

    Returns:
        The texts, decoded, in the order they were drawn.

    Raises:
        InputError: A count or length below 1, a temperature or `top_p` out of range, a text that would
            not fit the context, or a tokenizer with no token to begin from.
    """
    tokenizer = model.tokenizer
    begin = prefix_ids(tokenizer) or [tokenizer.eos_token_id]
    room = int(model.cfg.n_ctx) - len(begin)
    if begin == [None]:
        raise InputError("The tokenizer has neither prefix nor eos token, so no text can begin.")
    if count < 1 or batch_size < 1 or not 1 <= max_tokens <= room:
        raise InputError(
            f"count={count}, batch_size={batch_size}, max_tokens={max_tokens}: expected at least 1 of "
            f"each, and max_tokens at most {room}, the context less what a text begins from."
        )
    if temperature <= 0 or not 0 < top_p <= 1:
        raise InputError(
            f"temperature={temperature}, top_p={top_p}: expected a temperature above 0 and top_p in "
            "(0, 1]."
        )
    hf_model = model.original_model
    device = next(hf_model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    texts: list[str] = []
    with tqdm(total=count, desc="background text", unit="text", disable=not progress) as bar:
        empty = 0
        while len(texts) < count:
            if empty == EMPTY_BATCHES:
                raise InputError(
                    f"{empty} batches in a row held no text: this model does not write from its first "
                    "token. Give background text of your own."
                )
            rows = _sample_rows(
                hf_model,
                torch.tensor(begin, device=device).expand(batch_size, -1),
                generator,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                end=tokenizer.eos_token_id,
            )
            drawn = [tokenizer.decode(row) for row in rows]
            fresh = [text for text in drawn if text.strip()][: count - len(texts)]
            texts += fresh
            empty = 0 if fresh else empty + 1
            bar.update(len(fresh))
    return texts


@torch.no_grad()
def _sample_rows(
    model: Any,
    begin: Int[Tensor, "row token"],
    generator: torch.Generator,
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
    end: int | None,
) -> list[list[int]]:
    """Continue every row up to its end token or by so many tokens; with the KV cache.

    Most rows end early, so those that have are taken out of the batch and of the cache.
    """
    rows: list[list[int]] = [[] for _ in begin]
    going = torch.arange(len(begin), device=begin.device)
    ids, cache = begin, None
    for _ in range(max_tokens):
        output = model(ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        probabilities = (output.logits[:, -1].float() / temperature).softmax(dim=-1)
        ids = torch.multinomial(_nucleus(probabilities, top_p), 1, generator=generator)
        goes_on = torch.ones_like(ids[:, 0], dtype=torch.bool) if end is None else ids[:, 0] != end
        if not goes_on.all():
            going, ids = going[goes_on], ids[goes_on]
            cache.batch_select_indices(goes_on.nonzero()[:, 0])
        if not len(going):
            break
        for row, token in zip(going.tolist(), ids[:, 0].tolist(), strict=True):
            rows[row].append(token)
    return rows


def _nucleus(probabilities: Float[Tensor, "row token"], top_p: float) -> Float[Tensor, "row token"]:
    """Nothing for all but the likeliest tokens that together reach `top_p`; rows need not sum to 1."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * (before < top_p))
