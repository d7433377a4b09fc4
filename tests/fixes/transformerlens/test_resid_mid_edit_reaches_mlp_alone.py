"""An edit of hook_resid_mid is one of the residual stream: held against transformers, edited by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixes.tiny_models import assert_same_tensors, booted
from tests.tiny import VOCABULARY, make_tiny_model
from torch import Tensor

from tl_ext import fixes
from tl_ext.fixes.transformerlens.resid_mid_edit_reaches_mlp_alone import SLUG
from tl_ext.upstream import stand_in_tokenizer

WIDTH, LAYER = 12, 1
NAME = f"blocks.{LAYER}.hook_resid_mid"
IDS = torch.tensor([[5, 9, 33, 12], [7, 7, 40, 3]])
Edit = Callable[[Tensor], Tensor]
Block = Callable[[Any, Tensor, Callable[[Tensor], Tensor], Edit], Tensor]


def pre_norm(*names: str, scale: float = 1.0) -> Block:
    """The block that nearly all families have; names are those of its two norms and its MLP."""

    def block(layer: Any, x: Tensor, attention: Edit, edit: Edit) -> Tensor:
        ln1, ln2, mlp = (getattr(layer, name) for name in names)
        middle = edit(x + scale * attention(ln1(x)))
        return middle + scale * mlp(ln2(middle))

    return block


def gemma2(layer: Any, x: Tensor, attention: Edit, edit: Edit) -> Tensor:
    middle = edit(x + layer.post_attention_layernorm(attention(layer.input_layernorm(x))))
    written = layer.mlp(layer.pre_feedforward_layernorm(middle))
    return middle + layer.post_feedforward_layernorm(written)


def olmo2(layer: Any, x: Tensor, attention: Edit, edit: Edit) -> Tensor:
    middle = edit(x + layer.post_attention_layernorm(attention(x)))
    return middle + layer.post_feedforward_layernorm(layer.mlp(middle))


def opt(layer: Any, x: Tensor, attention: Edit, edit: Edit) -> Tensor:
    middle = edit(x + attention(layer.self_attn_layer_norm(x)))
    hidden = layer.fc1(layer.final_layer_norm(middle))
    return middle + layer.fc2(layer.activation_fn(hidden))


def bloom(layer: Any, x: Tensor, attention: Edit, edit: Edit) -> Tensor:
    normed = layer.input_layernorm(x)
    middle = edit(attention(normed))  # its attention adds the residual by itself
    normed = layer.post_attention_layernorm(middle)
    after = layer.apply_residual_connection_post_layernorm
    written: Tensor = layer.mlp(normed, normed if after else middle)
    return written


LLAMA = pre_norm("input_layernorm", "post_attention_layernorm", "mlp")
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "max_position_embeddings": 16,
}
FAMILIES: dict[str, tuple[str, dict[str, Any], str, Block]] = {
    "gpt2": (
        "GPT2Config",
        {"n_embd": WIDTH, "n_layer": 2, "n_head": 3, "n_positions": 16},
        "transformer.h attn",
        pre_norm("ln_1", "ln_2", "mlp"),
    ),
    "llama": ("LlamaConfig", SIZES, "model.layers self_attn", LLAMA),
    "qwen2": ("Qwen2Config", SIZES, "model.layers self_attn", LLAMA),
    "granite": (
        "GraniteConfig",
        SIZES | {"residual_multiplier": 0.25},
        "model.layers self_attn",
        pre_norm("input_layernorm", "post_attention_layernorm", "mlp", scale=0.25),
    ),
    "gemma2": ("Gemma2Config", SIZES, "model.layers self_attn", gemma2),
    "olmo2": ("Olmo2Config", SIZES, "model.layers self_attn", olmo2),
    "neox": (
        "GPTNeoXConfig",
        {name: SIZES[name] for name in SIZES if name != "num_key_value_heads"}
        | {"use_parallel_residual": False},
        "gpt_neox.layers attention",
        LLAMA,
    ),
    "opt": (
        "OPTConfig",
        SIZES | {"ffn_dim": 16, "word_embed_proj_dim": WIDTH},
        "model.decoder.layers self_attn",
        opt,
    ),
    "bloom": (
        "BloomConfig",
        {"hidden_size": WIDTH, "n_layer": 2, "n_head": 3},
        "transformer.h self_attention",
        bloom,
    ),
    "bloom, residual after the norm": (
        "BloomConfig",
        {
            "hidden_size": WIDTH,
            "n_layer": 2,
            "n_head": 3,
            "apply_residual_connection_post_layernorm": True,
        },
        "transformer.h self_attention",
        bloom,
    ),
}
EDITS: dict[str, Edit] = {
    "added to": lambda middle: middle + torch.linspace(-2, 2, WIDTH),
    "set to zero": torch.zeros_like,
    "a projection": lambda middle: middle * torch.tensor([1.0, 0.0] * (WIDTH // 2)),
}


def plain(family: str) -> Any:
    import transformers as hf

    config, sizes, _, _ = FAMILIES[family]
    torch.manual_seed(0)
    special = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 2}
    made = getattr(hf, config)(vocab_size=VOCABULARY, **special, **sizes)
    model = hf.AutoModelForCausalLM.from_config(made, attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    model.config.architectures = [type(model).__name__]
    return model


@cache
def pair(family: str) -> tuple[Any, Any]:
    """A bridge, and the same model of transformers that no bridge has touched."""
    model = plain(family)
    return booted(copy.deepcopy(model)), model


@contextmanager
def edited_by_hand(family: str, model: Any, edit: Edit) -> Iterator[None]:
    """Put a block in its place that is written down here, with the edit in the middle."""
    path, attention = FAMILIES[family][2].split()
    block, layer = FAMILIES[family][3], model.get_submodule(path)[LAYER]
    usual = layer.forward

    def forward(x: Tensor, *args: Any, **options: Any) -> Any:
        if family == "gpt2":
            # what transformers gives GPT-2's block by place
            options = {"past_key_values": args[0], "attention_mask": args[1], **options}
            options.pop("encoder_attention_mask")
        around = (x,) if family.startswith("bloom") else ()
        if "after the norm" in family:
            around = (layer.input_layernorm(x),)

        def attended(normed: Tensor) -> Tensor:
            heard: Tensor = getattr(layer, attention)(normed, *around, **options)[0]
            return heard

        left = block(layer, x, attended, edit)
        return (left, None) if around else left

    layer.forward = forward
    try:
        yield
    finally:
        layer.forward = usual


def hook(edit: Edit) -> tuple[str, Callable[..., Tensor]]:
    return NAME, lambda activation, hook: edit(activation)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_as_edited_by_hand(family: str) -> None:
    bridge, model = pair(family)
    with torch.no_grad(), fixes.applied(SLUG):
        before = model(IDS, use_cache=False).logits
        with edited_by_hand(family, model, lambda middle: middle):
            assert torch.allclose(model(IDS, use_cache=False).logits, before, atol=1e-5)
        for name, edit in EDITS.items():
            with edited_by_hand(family, model, edit):
                truth = model(IDS, use_cache=False).logits
            assert (truth - before).abs().max() > 0.1, name
            close(bridge.run_with_hooks(IDS, fwd_hooks=[hook(edit)]), truth)
            with bridge.hooks(fwd_hooks=[hook(edit)]):
                close(bridge(IDS), truth)
                _, cache = bridge.run_with_cache(IDS)
            if "after the norm" not in family:
                close(cache[NAME] + cache["blocks.1.hook_mlp_out"], left(cache))
        close(bridge(IDS), before)


def left(cache: Any) -> Tensor:
    value: Tensor = cache["blocks.1.hook_resid_post"]
    return value


@pytest.mark.parametrize("family", ["llama", "olmo2", "opt", "bloom"])
def test_gradients_there_are_those_of_the_residual_stream(family: str) -> None:
    bridge, model = pair(family)
    bias = torch.zeros(*IDS.shape, WIDTH, requires_grad=True)
    with edited_by_hand(family, model, lambda middle: middle + bias):
        (truth,) = torch.autograd.grad(loss(model(IDS, use_cache=False).logits), bias)
    found: dict[str, Tensor] = {}

    def keep(grad: Tensor, hook: Any) -> None:
        found["hook"] = grad.reshape(truth.shape)

    def watched(activation: Tensor, hook: Any) -> None:
        activation.retain_grad()
        found["kept"] = activation

    with fixes.applied(SLUG):
        with bridge.hooks(fwd_hooks=[(NAME, watched)], bwd_hooks=[(NAME, keep)]):
            loss(bridge(IDS)).backward()
        _, cache = bridge.run_with_cache(IDS, incl_bwd=True, return_type="loss")
        whole = bridge(IDS, return_type="loss")
        own = cache[f"{NAME}_grad"].reshape(truth.shape)
        with bridge.hooks(fwd_hooks=[(NAME, lambda a, hook: a + bias.reshape(a.shape))]):
            (again,) = torch.autograd.grad(bridge(IDS, return_type="loss"), bias)
    close(found["hook"], truth)
    if family != "opt":  # there a hook gets a view made for it alone
        assert found["kept"].grad is not None
        close(found["kept"].grad, truth)
    close(own, again)
    assert whole.requires_grad
    bridge.zero_grad()


def loss(logits: Tensor) -> Tensor:
    return logits[:, :, 3:9].pow(2).mean()


@pytest.mark.parametrize("family", ["gpt2", "olmo2"])
def test_steps_of_length_one_with_a_cache_are_edited_too(family: str) -> None:
    bridge, model = pair(family)
    edit = EDITS["added to"]
    greedy = {"max_new_tokens": 6, "do_sample": False, "use_past_kv_cache": True}
    with torch.no_grad(), edited_by_hand(family, model, edit):
        truth = model.generate(IDS, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    with fixes.applied(SLUG), bridge.hooks(fwd_hooks=[hook(edit)]):
        found = bridge.generate(
            IDS, **greedy, stop_at_eos=False, return_type="tokens", verbose=False
        )
    assert found.tolist() == truth.tolist()


def test_several_hooks_one_after_another_and_those_that_only_read() -> None:
    bridge, _ = pair("llama")
    seen: list[Tensor] = []
    add, zero = EDITS["added to"], EDITS["set to zero"]

    def read(activation: Tensor, hook: Any) -> None:
        seen.append(activation)

    def write_into(activation: Tensor, hook: Any) -> None:
        activation += 1.0

    with torch.no_grad(), fixes.applied(SLUG):
        found = bridge.run_with_hooks(
            IDS,
            fwd_hooks=[
                (NAME, read),
                hook(zero),
                (NAME, write_into),
                (NAME, read),
                hook(add),
                (NAME, read),
            ],
        )
        truth = bridge.run_with_hooks(
            IDS, fwd_hooks=[hook(lambda middle: add(torch.ones_like(middle)))]
        )
    close(found, truth)
    _, cache = bridge.run_with_cache(IDS)
    assert torch.equal(seen[0], cache[NAME])  # what was read first is not written over
    assert torch.equal(seen[1], torch.ones_like(seen[1]))
    close(seen[2], add(torch.ones_like(seen[2])))


def test_with_the_input_of_the_mlp_switched_on_each_has_its_own_place() -> None:
    bridge = make_tiny_model("gpt2")
    bridge.set_use_hook_mlp_in(True)
    order: list[str] = []
    read = [
        (name, lambda activation, hook, name=name: order.append(name))
        for name in ("blocks.1.hook_mlp_in", NAME)
    ]

    def doubled(activation: Tensor, hook: Any) -> Tensor:
        return 2.0 * activation

    at_mlp = ("blocks.1.hook_mlp_in", doubled)
    with torch.no_grad():
        before = bridge.run_with_hooks(IDS, fwd_hooks=[at_mlp])
        with fixes.applied(SLUG):
            assert torch.equal(bridge.run_with_hooks(IDS, fwd_hooks=[at_mlp]), before)
            bridge.run_with_hooks(IDS, fwd_hooks=read)
            with bridge.hooks(fwd_hooks=[(NAME, doubled), at_mlp]):
                _, cache = bridge.run_with_cache(IDS)
    assert order == [NAME, "blocks.1.hook_mlp_in"]
    close(cache["blocks.1.hook_mlp_in"], 2 * cache[NAME])
    close(cache["blocks.1.hook_mlp_out"] + cache[NAME], left(cache))


def test_a_hook_that_runs_the_model_finds_its_own_hook_at_work() -> None:
    bridge, _ = pair("gpt2")
    depth: list[int] = []

    def nested(activation: Tensor, hook: Any) -> Tensor:
        depth.append(len(depth))
        if len(depth) == 1:
            bridge(IDS)
        return torch.zeros_like(activation)

    with torch.no_grad(), fixes.applied(SLUG):
        found = bridge.run_with_hooks(IDS, fwd_hooks=[(NAME, nested)])
        truth = bridge.run_with_hooks(IDS, fwd_hooks=[hook(EDITS["set to zero"])])
    assert depth == [0, 1]  # one fires in the other
    assert torch.equal(found, truth)


def test_after_an_error_in_a_hook_all_is_as_it_was() -> None:
    bridge, _ = pair("llama")
    reader: Any = bridge.blocks[LAYER].ln2
    before = bridge(IDS).detach()
    point, hooks = reader.hook_in, list(reader._forward_pre_hooks)

    def fail(activation: Tensor, hook: Any) -> None:
        raise RuntimeError("no")

    with torch.no_grad(), fixes.applied(SLUG):
        with pytest.raises(RuntimeError, match="no"):
            bridge.run_with_hooks(IDS, fwd_hooks=[(NAME, fail)])
        with pytest.raises(ValueError, match=r"shape \(1, 4, 12\); the residual stream is \(2, "):
            bridge.run_with_hooks(IDS, fwd_hooks=[hook(lambda middle: middle[:1])])
        assert reader.hook_in is point and list(reader._forward_pre_hooks) == hooks
        assert torch.equal(bridge(IDS), before)


def test_stop_at_layer_and_compatibility_mode() -> None:
    bridge = make_tiny_model("llama")
    add = EDITS["set to zero"]
    with torch.no_grad(), fixes.applied(SLUG):
        with bridge.hooks(fwd_hooks=[hook(add)]):
            stopped = bridge(IDS, stop_at_layer=2)
            _, cache = bridge.run_with_cache(IDS)
        close(stopped, cache["blocks.1.hook_mlp_out"])
        bridge.enable_compatibility_mode(disable_warnings=True)
        with bridge.hooks(fwd_hooks=[hook(add)]):
            _, cache = bridge.run_with_cache(IDS)
    close(cache["blocks.1.hook_resid_post"], cache["blocks.1.hook_mlp_out"])


@pytest.mark.parametrize("family", ["gpt_neox", "phi"])
def test_parallel_blocks_have_no_such_hook(family: str) -> None:
    bridge = make_tiny_model(family)
    assert NAME not in bridge.hook_dict
    edit = ("blocks.1.hook_attn_out", lambda activation, hook: activation * 0)
    with torch.no_grad():
        before = bridge.run_with_hooks(IDS, fwd_hooks=[edit])
        with fixes.applied(SLUG):
            assert torch.equal(bridge.run_with_hooks(IDS, fwd_hooks=[edit]), before)


@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 3), st.integers(1, 7), st.booleans())
@settings(max_examples=settings.default.max_examples // 2)
def test_where_nothing_is_edited_there_not_a_bit_changes(
    family: str, rows: int, tokens: int, cached: bool
) -> None:
    bridge, _ = pair(family)
    ids = torch.arange(rows * tokens).reshape(rows, tokens) % VOCABULARY
    edit = ("blocks.0.hook_mlp_out", lambda activation, hook: activation * 0.5)

    def run() -> dict[str, Tensor]:
        with torch.no_grad(), bridge.hooks(fwd_hooks=[edit]):
            if not cached:
                return {"logits": bridge(ids)}
            logits, found = bridge.run_with_cache(ids)
            return {"logits": logits, **found.cache_dict}

    before = run()
    with fixes.applied(SLUG):
        after = run()
    assert_same_tensors(before, after)


@pytest.mark.saelens
def test_a_dictionary_spliced_in_takes_the_place_of_the_residual_stream() -> None:
    from sae_lens import SAETransformerBridge, StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    model = plain("gpt2")
    bridge: Any = SAETransformerBridge.boot_transformers(
        "tiny", hf_model=copy.deepcopy(model), tokenizer=stand_in_tokenizer(), device="cpu"
    )
    metadata = SAEMetadata(hook_name=NAME, model_name="tiny")
    sae = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=20, device="cpu", metadata=metadata))
    for parameter in sae.parameters():
        parameter.data.normal_()
    with torch.no_grad(), edited_by_hand("gpt2", model, sae):
        truth = model(IDS, use_cache=False).logits
    with torch.no_grad():
        assert (bridge.run_with_saes(IDS, saes=[sae], use_error_term=False) - truth).abs().max() > 1
        with fixes.applied(SLUG):
            close(bridge.run_with_saes(IDS, saes=[sae], use_error_term=False), truth)
            close(bridge.run_with_saes(IDS, saes=[sae], use_error_term=True), bridge(IDS))
