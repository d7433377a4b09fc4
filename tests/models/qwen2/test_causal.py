"""Drawn Qwen2 configurations: the causal model is upstream's, and it computes what transformers does.

Heads odd and even, groups of any size, heads wider than the residual stream, windows shorter than
the text, tied and untied unembeddings, every kind of rope scaling, padding on either side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.qwen2 import checkpoints
from torch import Tensor
from transformers import PreTrainedModel

from tl_ext import upstream
from tl_ext.models.loading import Processing, load_model

PADDING, EOS = 0, 2
VOCABULARY = 31
# A forward pass in two libraries takes a tenth of a second; a thorough profile draws more.
SHARE = settings(max_examples=max(settings().max_examples // 3, 1))
FEW = settings(max_examples=max(settings().max_examples // 6, 1))


@dataclass(frozen=True)
class Drawn:
    """A configuration and a batch for it; `mask` is false on padding."""

    changes: dict[str, Any]
    seed: int
    ids: Tensor
    mask: Tensor

    def hugging_face(self) -> Any:
        model = checkpoints.make(seed=self.seed, **self.changes)
        model.set_attn_implementation("eager")
        return model

    def bridge(self, processing: Processing = Processing.RAW) -> Any:
        model = checkpoints.make(seed=self.seed, **self.changes)
        tokenizer = upstream.stand_in_tokenizer()
        return load_model(model, tokenizer=tokenizer, processing=processing)

    @property
    def positions(self) -> Tensor:
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)

    @property
    def window(self) -> list[int | None]:
        """How many tokens each layer sees, the token itself included."""
        first = self.changes["max_window_layers"]
        width = self.changes["sliding_window"] if self.changes["use_sliding_window"] else None
        return [width if layer >= first else None for layer in range(self.layers)]

    @property
    def layers(self) -> int:
        return int(self.changes["num_hidden_layers"])

    @property
    def groups(self) -> int:
        """Query heads for one key-value head."""
        return int(self.changes["num_attention_heads"] // self.changes["num_key_value_heads"])


def rope(length: int) -> st.SearchStrategy[dict[str, Any]]:
    base = st.sampled_from([10_000.0, 1_000_000.0])
    factor = st.sampled_from([2.0, 4.0])
    kinds = [
        st.fixed_dictionaries({"rope_type": st.just("default"), "rope_theta": base}),
        st.fixed_dictionaries(
            {
                "rope_type": st.sampled_from(["linear", "dynamic"]),
                "rope_theta": base,
                "factor": factor,
            }
        ),
        st.fixed_dictionaries(
            {
                "rope_type": st.just("yarn"),
                "rope_theta": base,
                "factor": factor,
                "original_max_position_embeddings": st.just(length // 2),
            }
        ),
    ]
    return st.one_of(kinds)


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    groups = draw(st.sampled_from([1, 2, 3]))
    heads = groups * draw(st.sampled_from([1, 2, 3, 5]))
    width = draw(st.sampled_from([4, 6]))
    own_width = draw(st.booleans())  # else it is hidden_size / heads, as published
    context = draw(st.sampled_from([6, 16]))  # shorter than the text, for dynamic scaling
    length = draw(st.integers(2, 9))
    changes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // groups,
        "hidden_size": draw(st.sampled_from([10, 15])) if own_width else heads * width,
        "intermediate_size": draw(st.sampled_from([7, 16])),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "max_position_embeddings": context,
        "rope_parameters": draw(rope(context)),
        "use_sliding_window": draw(st.booleans()),
        # A window of 1 is transformers' own to get wrong: its cache then keeps every token.
        "sliding_window": draw(st.integers(2, 4)),
        "max_window_layers": draw(st.integers(0, 2)),
        "tie_word_embeddings": draw(st.booleans()),
        "pad_token_id": PADDING,
        "eos_token_id": EOS,
    }
    if own_width:
        changes["head_dim"] = width
    short = draw(st.integers(1, length))
    ids = torch.tensor(
        draw(
            st.lists(
                st.lists(st.integers(3, VOCABULARY - 1), min_size=length, max_size=length),
                min_size=2,
                max_size=2,
            )
        )
    )
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, short:] = False
    if draw(st.booleans()):
        mask = mask.flip(1)
    return Drawn(changes, draw(st.integers(0, 99)), ids.where(mask, PADDING), mask)


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def close(ours: Tensor, theirs: Tensor, atol: float = 2e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)


@SHARE
@given(case=drawn())
def test_every_activation_is_what_the_configuration_says(case: Drawn) -> None:
    """One forward pass, all of its parts, against the modules of transformers and against algebra."""
    theirs, parts = observed(case)
    bridge = case.bridge()
    logits, cache = bridge.run_with_cache(case.ids, attention_mask=case.mask.long())
    at = case.mask
    close(logits[at], theirs[at])
    for layer in range(case.layers):
        block = f"blocks.{layer}"
        for name, output in parts[layer].items():
            close(cache[f"{block}.{name}"].reshape(output.shape)[at], output[at])

        pre, mid, post = (cache[f"{block}.hook_resid_{where}"] for where in ("pre", "mid", "post"))
        attention, mlp = cache[f"{block}.hook_attn_out"], cache[f"{block}.hook_mlp_out"]
        close((pre + attention)[at], mid[at])
        close((mid + mlp)[at], post[at])

        pattern = cache[f"{block}.attn.hook_pattern"]  # [batch head query key]
        check_pattern(pattern, case, layer)
        values = cache[f"{block}.attn.hook_v"].repeat_interleave(case.groups, dim=2)
        mixed = torch.einsum("bhqk,bkhd->bqhd", pattern, values)
        z = cache[f"{block}.attn.hook_z"]
        close(z[at], mixed[at])
        written = torch.einsum("bqhd,hdm->bqm", z, bridge.blocks[layer].attn.W_O)
        close(written[at], attention[at])


def check_pattern(pattern: Tensor, case: Drawn, layer: int) -> None:
    length = pattern.shape[-1]
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = key <= query
    if case.window[layer] is not None:
        seen = seen & (query - key < case.window[layer])
    seen = seen[None] & case.mask[:, None, :]
    outside = pattern.masked_fill(seen[:, None], 0.0)
    rows = case.mask[:, None].expand(pattern.shape[:3])  # padding reads whatever it likes
    assert float(outside[rows].abs().max()) == 0.0
    close(pattern.sum(-1)[rows], torch.ones(int(rows.sum())))


def observed(case: Drawn) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """transformers' logits, and per layer what its modules gave, by TransformerLens' names."""
    model = case.hugging_face()
    parts: list[dict[str, Tensor]] = [{} for _ in range(case.layers)]

    def keep(layer: int, name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            parts[layer][name] = output[0] if isinstance(output, tuple) else output

        return hook

    for layer, block in enumerate(model.model.layers):
        attention = block.self_attn
        for name, module in {
            "attn.hook_q": attention.q_proj,
            "attn.hook_k": attention.k_proj,
            "attn.hook_v": attention.v_proj,
            "hook_attn_out": attention,
            "hook_mlp_out": block.mlp,
            "hook_resid_post": block,
        }.items():
            module.register_forward_hook(keep(layer, name))
    return run(model, case), parts


def run(model: PreTrainedModel, case: Drawn) -> Tensor:
    logits: Tensor = model(
        case.ids, attention_mask=case.mask.long(), position_ids=case.positions
    ).logits
    return logits


EDITED = {
    "hook_resid_pre": (lambda block: block, "in"),
    "hook_attn_out": (lambda block: block.self_attn.o_proj, "out"),
    "hook_mlp_out": (lambda block: block.mlp, "out"),
    "attn.hook_z": (lambda block: block.self_attn.o_proj, "in"),
    "attn.hook_q": (lambda block: block.self_attn.q_proj, "out"),
    "attn.hook_k": (lambda block: block.self_attn.k_proj, "out"),
    "attn.hook_v": (lambda block: block.self_attn.v_proj, "out"),
    "mlp.hook_pre": (lambda block: block.mlp.gate_proj, "out"),
    "mlp.hook_post": (lambda block: block.mlp.down_proj, "in"),
    "hook_resid_post": (lambda block: block, "out"),
}


@SHARE
@given(case=drawn(), point=st.sampled_from(sorted(EDITED)), data=st.data())
def test_an_edit_has_the_effect_of_a_plain_torch_hook(
    case: Drawn, point: str, data: st.DataObject
) -> None:
    layer = data.draw(st.integers(0, case.layers - 1))
    model = case.hugging_face()
    find, side = EDITED[point]
    module = find(model.model.layers[layer])
    scale = 1.5

    if side == "out":
        module.register_forward_hook(lambda _module, _args, output: output * scale + 0.1)
    else:
        module.register_forward_pre_hook(lambda _module, args: (args[0] * scale + 0.1, *args[1:]))
    ours = case.bridge().run_with_hooks(
        case.ids,
        attention_mask=case.mask.long(),
        fwd_hooks=[(f"blocks.{layer}.{point}", lambda tensor, hook: tensor * scale + 0.1)],
    )
    close(ours[case.mask], run(model, case)[case.mask])


@FEW
@given(case=drawn())
def test_greedy_decoding_with_the_cache_is_decoding_without_it(case: Drawn) -> None:
    """Two texts in one batch, the shorter padded on the left, against each text by itself."""
    bridge, model = case.bridge(), case.hugging_face()
    whole, new = case.ids[0], 4
    texts = [whole, whole[len(whole) // 2 :]]
    batch = torch.nn.utils.rnn.pad_sequence(
        texts, batch_first=True, padding_value=PADDING, padding_side="left"
    )
    mask = torch.ones_like(batch)
    mask[1, : len(whole) - len(texts[1])] = 0
    if case.changes["rope_parameters"]["rope_type"] == "dynamic":
        # transformers rescales past the context, and a cache holds keys of the scale they were made
        # at: which scale that is depends on the longest text of a batch.
        batch, mask = batch[:1], mask[:1]
        model.generation_config.eos_token_id = None  # or generating would end there
        expected = model.generate(batch, attention_mask=mask, max_new_tokens=new, do_sample=False)[
            :, -new:
        ]
    else:
        expected = torch.stack([continued(model, text, new) for text in texts])
    ours = bridge.generate(
        batch,
        attention_mask=mask,
        max_new_tokens=new,
        do_sample=False,
        stop_at_eos=False,
        verbose=False,
        return_type="tokens",
    )
    assert ours[:, -new:].tolist() == expected.tolist()


def continued(model: PreTrainedModel, text: Tensor, new: int) -> Tensor:
    """The most probable tokens after a text, each from a pass over all before it."""
    ids = text[None]
    for _ in range(new):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, -new:]


@FEW
@given(case=drawn())
def test_compatibility_mode_keeps_log_probabilities_and_attributes_logits(case: Drawn) -> None:
    raw, bridge = case.bridge(), case.bridge(Processing.COMPATIBILITY)
    mask = case.mask.long()
    logits, cache = bridge.run_with_cache(case.ids, attention_mask=mask)
    before = raw(case.ids, attention_mask=mask).log_softmax(-1)
    close(logits.log_softmax(-1)[case.mask], before[case.mask], atol=1e-3)

    stack = cache.decompose_resid(layer=-1, pos_slice=-1)
    answer, other = torch.tensor([5, 6]), torch.tensor([9, 8])
    parts = cache.logit_attrs(stack, tokens=answer, incorrect_tokens=other, pos_slice=-1)
    rows = torch.arange(2)
    expected = logits[rows, -1, answer] - logits[rows, -1, other]
    held = case.mask[:, -1]
    close(parts.sum(0)[held], expected[held], atol=1e-3)


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.05), (torch.float64, 1e-12)])
@FEW
@given(case=drawn())
def test_other_types_are_kept(case: Drawn, dtype: torch.dtype, near: float) -> None:
    if dtype is torch.float64:
        # Under left padding transformers itself gives NaN: it takes the softmax in float32.
        case = replace(case, mask=torch.ones_like(case.mask))
    model = checkpoints.make(seed=case.seed, **case.changes).to(dtype)
    bridge = load_model(model, tokenizer=upstream.stand_in_tokenizer())
    ours = bridge(case.ids, attention_mask=case.mask.long())[case.mask]
    theirs = run(case.hugging_face().to(dtype), case)[case.mask]
    assert ours.dtype == dtype
    assert float((ours - theirs).norm() / theirs.norm()) <= near
