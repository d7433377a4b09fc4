"""Edits in a model: the same as plain PyTorch hooks on the Hugging Face module, and nothing left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.interventions.toy import WIDTH, activation, same_bits, toy_dictionary
from tests.tiny import FAMILIES, tiny_hf_model, tiny_model
from torch import Tensor

from tl_ext import fixes
from tl_ext.activations.capture import run
from tl_ext.errors import HookPointError, InputError
from tl_ext.interventions.applied import applied, as_edits
from tl_ext.interventions.edits import Add, AddEach, Clamp, Splice
from tl_ext.models.hook_points import hooked
from tl_ext.models.tokens import Batch, batch
from tl_ext.steering.vectors import tensor_vector

TEXTS = ["w5 w6 w7 w8 w9", "w12 w13", "w20 w21 w22"]
POINT = "blocks.1.hook_resid_pre"


def logits(model: Any, tokens: Batch) -> Tensor:
    with torch.no_grad():
        return model(tokens.ids, **tokens.forward_arguments())


def vector(seed: int = 0) -> Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def keep_in(seen: dict[int, Tensor]) -> Callable[[Tensor], None]:
    """A hook function that keeps what it is given, counted from 0."""
    return lambda activation: seen.update({len(seen): activation.detach().clone()})


def put_hook(family: str, model: Any, kind: str, change: Callable[[Tensor], Tensor]) -> None:
    """The same edit by PyTorch's own hooks, on the module of layer 1 that carries it."""
    path = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}.get(family, "model.layers")
    block = model.get_submodule(path)[1]
    attention = getattr(block, {"gpt2": "attn", "gpt_neox": "attention"}.get(family, "self_attn"))
    output = {"gpt2": "c_proj", "gpt_neox": "dense", "phi": "dense"}.get(family, "o_proj")

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(_: Any, args: Any, out: Any) -> Any:
        return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

    if kind == "hook_resid_pre":
        block.register_forward_pre_hook(before, with_kwargs=True)
    elif kind == "attn.hook_z":
        getattr(attention, output).register_forward_pre_hook(before, with_kwargs=True)
    else:
        module = {"hook_resid_post": block, "hook_attn_out": attention, "hook_mlp_out": block.mlp}
        module[kind].register_forward_hook(after)


@pytest.mark.parametrize(
    "kind",
    ["hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_does_what_a_plain_hook_on_the_module_does(family: str, kind: str) -> None:
    model, plain = tiny_model(family), tiny_hf_model(family)
    tokens = batch(model, TEXTS)
    where, push = tokens.content, vector()
    put_hook(family, plain, kind, lambda x: torch.where(where[..., None], x + push, x))
    with torch.no_grad():
        expected = plain(tokens.ids, attention_mask=tokens.mask.long()).logits
    before = logits(model, tokens)
    with applied(model, Add(f"blocks.1.{kind}", push), where):
        edited = logits(model, tokens)
    real = tokens.mask
    torch.testing.assert_close(edited[real], expected[real], atol=2e-5, rtol=1e-5)
    assert (edited - before)[real].abs().max() > 0.1
    assert same_bits(logits(model, tokens), before)


@pytest.mark.parametrize("by_token", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_each_row_moves_as_under_its_own_vector(family: str, by_token: bool) -> None:
    model = tiny_model(family)
    tokens = batch(model, TEXTS)
    vectors = torch.stack([vector(seed) for seed in range(len(TEXTS))])
    given = vectors[:, None].expand(*tokens.ids.shape, WIDTH) if by_token else vectors
    with applied(model, AddEach(POINT, given), tokens.content):
        together = logits(model, tokens)
    for row, own in enumerate(vectors):
        with applied(model, Add(POINT, own), tokens.content):
            alone = logits(model, tokens)
        torch.testing.assert_close(together[row], alone[row], atol=2e-5, rtol=1e-5)
    assert not model.list_hooks()


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_makes_no_difference_under_edits(side: Any) -> None:
    model = tiny_model()
    edits = [Add(POINT, vector()), Clamp(toy_dictionary(), 2, 4.0)]
    tokens = batch(model, TEXTS, padding_side=side)
    with applied(model, edits, tokens.content):
        together = logits(model, tokens)
    for row, text in enumerate(TEXTS):
        alone = batch(model, [text])
        with applied(model, edits, alone.content):
            expected = logits(model, alone)[0]
        torch.testing.assert_close(together[row][tokens.mask[row]], expected, atol=2e-5, rtol=1e-5)


def test_edits_at_one_hook_point_follow_one_another_also_under_two_names() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    toy = toy_dictionary()
    first, second, third = Add(POINT, vector(1)), Splice(toy), Add("blocks.1.hook_in", vector(2))
    x = run(model, tokens, [POINT])[POINT]
    for order in ((first, second, third), (third, first, second), (second, third, first)):
        expected = x
        for edit in order:
            expected = edit.apply(expected)
        seen: dict[int, Tensor] = {}
        with applied(model, order), hooked(model, {POINT: keep_in(seen)}):
            logits(model, tokens)
        assert same_bits(seen[0], expected)


def test_a_transcoder_reads_what_earlier_edits_left() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    read, write = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
    transcoder = toy_dictionary(hook_in=read, hook_out=write)
    push = vector(3)
    x = run(model, tokens, [read])[read] + push
    seen: dict[int, Tensor] = {}
    with (
        applied(model, [Splice(transcoder), Add(read, push)]),
        hooked(model, {write: keep_in(seen)}),
    ):
        logits(model, tokens)
    torch.testing.assert_close(seen[0], transcoder.reconstruct(x), atol=1e-5, rtol=1e-5)


def test_splice_with_the_error_term_leaves_the_model_alone() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    before = logits(model, tokens)
    for normalisation in ("none", "layer_norm"):
        toy = toy_dictionary(normalisation=normalisation)
        with applied(model, Splice(toy, keep_error=True)):
            assert same_bits(logits(model, tokens), before)
        with applied(model, Splice(toy)):
            assert not torch.equal(logits(model, tokens), before)


def test_where_may_be_a_function() -> None:
    model = tiny_model()
    one, two = batch(model, TEXTS), batch(model, TEXTS[:1])
    current = [one]
    edit = Add(POINT, vector())
    with applied(model, edit, lambda: current[0].content):
        first = logits(model, one)
        current[0] = two
        second = logits(model, two)
    for tokens, seen in ((one, first), (two, second)):
        with applied(model, edit, tokens.content):
            assert same_bits(logits(model, tokens), seen)


def test_nothing_is_left_behind_and_other_hooks_stay() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    before = logits(model, tokens)
    calls = []
    model.add_hook(POINT, lambda tensor, hook: calls.append(1))
    others = {name: len(hooks) for name, hooks in model.list_hooks().items()}
    modules = len(model.original_model._forward_hooks)

    class Stop(Exception):
        pass

    try:
        with pytest.raises(Stop), applied(model, Add(POINT, vector())):
            logits(model, tokens)
            raise Stop
        with pytest.raises(InputError), applied(model, Add(POINT, torch.ones(5))):
            logits(model, tokens)
        with (
            pytest.raises(HookPointError),
            applied(model, [Add(POINT, vector()), Add("no", vector())]),
        ):
            pass
        assert {name: len(hooks) for name, hooks in model.list_hooks().items()} == others
        assert len(model.original_model._forward_hooks) == modules
        assert same_bits(logits(model, tokens), before)
        assert len(calls) >= 2
    finally:
        model.reset_hooks()


def test_under_its_fix_the_middle_of_a_block_is_edited_as_the_stream(
    upstream_as_installed: None,
) -> None:
    model = tiny_model("llama")
    tokens = batch(model, TEXTS)
    with fixes.applied("resid-mid-edit-reaches-mlp-alone"):
        with applied(model, Add("blocks.1.hook_attn_out", vector())):
            truth = logits(model, tokens)
        with applied(model, Add("blocks.1.hook_resid_mid", vector())):
            assert torch.allclose(logits(model, tokens), truth, atol=1e-5)
    assert not torch.allclose(logits(model, tokens), truth, atol=1e-2)


def test_edits_without_effect_are_errors() -> None:
    model = tiny_model("llama")
    tokens = batch(model, TEXTS)
    with (
        pytest.raises(
            HookPointError,
            match=r"blocks.1.hook_resid_mid cannot be edited: upstream.*or apply the fix resid-mid",
        ),
        applied(model, Add("blocks.1.hook_resid_mid", vector())),
    ):
        pass
    with (
        pytest.raises(HookPointError, match=r"Nearest: blocks.1.hook_resid_pre"),
        applied(model, Add("blocks.1.hook_resid_prre", vector())),
    ):
        pass
    # A rotary model has this hook point, and nothing ever passes it.
    with (
        pytest.raises(HookPointError, match=r"never fired.*: hook_pos_embed"),
        applied(model, [Add("hook_pos_embed", vector()), Add(POINT, vector())]),
    ):
        logits(model, tokens)
    # Where the model did not run to its end, nothing is known.
    with applied(model, Add("hook_pos_embed", vector())):
        run(model, tokens, [POINT])
    with applied(model, Add("hook_pos_embed", vector())):
        pass


def test_what_is_no_edit_and_what_is_no_mask() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    with pytest.raises(InputError, match="not Tensor"), applied(model, [vector()]):  # type: ignore[list-item]
        pass
    for where in (tokens.content[:, :2], tokens.content.long()):
        with (
            pytest.raises(InputError, match=r"blocks.1.hook_resid_pre booleans of shape \[3, 6\]"),
            applied(model, Add(POINT, vector()), where),
        ):
            logits(model, tokens)
    with applied(model, ()):
        assert same_bits(logits(model, tokens), logits(model, tokens))


def test_gradients_pass_through_edits() -> None:
    model = tiny_model()
    tokens = batch(model, TEXTS)
    start = activation(3, 6, WIDTH).requires_grad_()
    with (
        applied(model, Add(POINT, vector()), tokens.content),
        hooked(model, {"hook_embed": lambda x: start}),
    ):
        model(tokens.ids, **tokens.forward_arguments()).sum().backward()
    assert start.grad is not None and start.grad.abs().sum() > 0


def test_a_vector_without_a_strength_is_told_how_to_get_one() -> None:
    steering = tensor_vector(vector(), POINT)
    for given in (steering, [steering]):
        with pytest.raises(InputError, match=r"not SteeringVector\. Choose a strength"):
            as_edits(given)  # type: ignore[arg-type, list-item]
    for other in (2.0, None):
        with pytest.raises(InputError, match=r"An edit .* is expected"):
            as_edits(other)  # type: ignore[arg-type]
