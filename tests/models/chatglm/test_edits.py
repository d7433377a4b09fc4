"""An edit at a hook point has the effect of computing on from there, in the Hugging Face model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.chatglm.checkpoints import write_checkpoint
from torch import Tensor
from transformers import AutoModelForCausalLM

import tl_ext
from tl_ext.upstream import stand_in_tokenizer

HEADS, GROUPS, HEAD, LAYER = 4, 2, 8, 1
IDS = torch.tensor([[3, 14, 15, 92, 65, 35], [8, 97, 93, 23, 84, 62]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(
        tmp_path_factory.mktemp("chatglm"),
        num_layers=3,
        num_attention_heads=HEADS,
        multi_query_group_num=GROUPS,
        kv_channels=HEAD,
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Any:
    return tl_ext.load_model(folder, tokenizer=stand_in_tokenizer(), device="cpu")


@pytest.fixture(scope="module")
def cache(bridge: Any) -> Any:
    with torch.no_grad():
        return bridge.run_with_cache(IDS)[1]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def noise(like: Tensor) -> Tensor:
    return 0.5 * torch.randn(like.shape, generator=torch.Generator().manual_seed(7))


@contextmanager
def reading(module: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what a module reads."""

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    yield
    handle.remove()


@contextmanager
def writing(module: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what a module gives."""

    def after(_: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    handle = module.register_forward_hook(after)
    yield
    handle.remove()


def first_half(change: Callable[[Tensor], Tensor], *, second: bool = False) -> Any:
    """A change of the gate alone, or of what it gates, where both come from one matrix."""

    def changed(both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        return torch.cat((gate, change(up)) if second else (change(gate), up), dim=-1)

    return changed


# For each hook point, the module of transformers' that reads or writes the same tensor.
AT_MODULES: dict[str, Callable[[Any, Any], Any]] = {
    "hook_embed": lambda m, c: writing(m.model.embed_tokens, c),
    "blocks.1.hook_resid_pre": lambda m, c: reading(m.model.layers[1], c),
    "blocks.1.ln1.hook_out": lambda m, c: writing(m.model.layers[1].input_layernorm, c),
    "blocks.1.attn.hook_q": lambda m, c: writing(m.model.layers[1].self_attn.q_proj, c),
    "blocks.1.attn.hook_k": lambda m, c: writing(m.model.layers[1].self_attn.k_proj, c),
    "blocks.1.attn.hook_v": lambda m, c: writing(m.model.layers[1].self_attn.v_proj, c),
    "blocks.1.attn.hook_z": lambda m, c: reading(m.model.layers[1].self_attn.o_proj, c),
    "blocks.1.hook_attn_out": lambda m, c: writing(m.model.layers[1].self_attn, c),
    "blocks.1.ln2.hook_out": lambda m, c: writing(m.model.layers[1].post_attention_layernorm, c),
    "blocks.1.mlp.hook_pre": lambda m, c: writing(
        m.model.layers[1].mlp.gate_up_proj, first_half(c)
    ),
    "blocks.1.mlp.hook_pre_linear": lambda m, c: writing(
        m.model.layers[1].mlp.gate_up_proj, first_half(c, second=True)
    ),
    "blocks.1.mlp.hook_post": lambda m, c: reading(m.model.layers[1].mlp.down_proj, c),
    "blocks.1.hook_mlp_out": lambda m, c: writing(m.model.layers[1].mlp, c),
    "blocks.1.hook_resid_post": lambda m, c: writing(m.model.layers[1], c),
    "ln_final.hook_out": lambda m, c: writing(m.model.norm, c),
    "unembed.hook_in": lambda m, c: reading(m.lm_head, c),
    "hook_unembed": lambda m, c: writing(m.lm_head, c),
}
# Inside the attention transformers has no module: what follows is computed here, up to z.
INSIDE = ["hook_rot_q", "hook_rot_k", "hook_attn_scores", "hook_pattern"]


def edited(bridge: Any, name: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    logits: Tensor = bridge.run_with_hooks(
        IDS, fwd_hooks=[(name, lambda tensor, hook: change(tensor))]
    )
    return logits


@pytest.mark.parametrize("name", AT_MODULES)
def test_an_edit_is_what_a_hook_on_the_module_does(
    bridge: Any, model: Any, cache: Any, name: str
) -> None:
    added = noise(cache[name])
    got = edited(bridge, name, lambda tensor: tensor + added)
    with AT_MODULES[name](model, lambda tensor: tensor + added.reshape(tensor.shape)):
        want = model(IDS).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    assert float((got - bridge(IDS)).abs().max()) > 0.05


@pytest.mark.parametrize("name", INSIDE)
def test_an_edit_inside_the_attention_reaches_z(
    bridge: Any, model: Any, cache: Any, name: str
) -> None:
    held = {point: cache[f"blocks.{LAYER}.attn.{point}"] for point in INSIDE}
    added = noise(held[name])
    got = edited(bridge, f"blocks.{LAYER}.attn.{name}", lambda tensor: tensor + added)

    held[name] = held[name] + added
    if name.startswith("hook_rot"):
        keys = held["hook_rot_k"].repeat_interleave(HEADS // GROUPS, dim=2)
        scores = torch.einsum("bqhd,bkhd->bhqk", held["hook_rot_q"], keys) / HEAD**0.5
        later = torch.ones(IDS.shape[1], IDS.shape[1], dtype=torch.bool).triu(1)
        held["hook_attn_scores"] = scores.masked_fill(later, -torch.inf)
    if name != "hook_pattern":
        held["hook_pattern"] = held["hook_attn_scores"].softmax(-1)
    values = cache[f"blocks.{LAYER}.attn.hook_v"].repeat_interleave(HEADS // GROUPS, dim=2)
    z = torch.einsum("bhqk,bkhd->bqhd", held["hook_pattern"], values)
    with reading(model.model.layers[LAYER].self_attn.o_proj, lambda x: z.reshape(x.shape)):
        want = model(IDS).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
    assert float((got - bridge(IDS)).abs().max()) > 0.05


def test_an_identity_edit_changes_nothing(bridge: Any) -> None:
    untouched = bridge(IDS)
    inside = [f"blocks.{LAYER}.attn.{name}" for name in INSIDE]
    for name in (*AT_MODULES, *inside, "blocks.1.hook_resid_mid"):
        assert torch.equal(edited(bridge, name, torch.clone), untouched), name
    for name in ("blocks.1.ln1.hook_normalized", "ln_final.hook_scale"):
        torch.testing.assert_close(edited(bridge, name, torch.clone), untouched)


def test_an_edit_at_one_head_leaves_the_others(bridge: Any) -> None:
    seen = {}

    def keep(tensor: Tensor, hook: Any) -> None:
        seen[hook.name] = tensor

    def second_head(tensor: Tensor, hook: Any) -> Tensor:
        tensor = tensor.clone()
        tensor[:, :, 1] = 0
        return tensor

    points = [f"blocks.{LAYER}.attn.hook_z", f"blocks.{LAYER}.attn.hook_q"]
    z, q = points
    bridge.run_with_hooks(IDS, fwd_hooks=[(q, second_head), (z, keep)])
    after = dict(seen)
    bridge.run_with_hooks(IDS, fwd_hooks=[(z, keep)])
    ((name, changed),) = after.items()
    same = (changed == seen[name]).flatten(0, 1).all(-1)
    assert same.all(0)[[0, 2, 3]].all()
    assert not same[:, 1].all()
