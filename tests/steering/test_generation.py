"""Generation under edits: every token, any batch, with the cache as without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.interventions.test_edits import Contextual
from tests.interventions.toy import POINT, WIDTH, same_bits, toy_dictionary
from tests.tiny import CONTEXT, FAMILIES, VOCABULARY, make_tiny_model, tiny_model
from torch import Tensor

from tl_ext.errors import HookPointError, InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Add, AddEach, Clamp, Edit, Splice
from tl_ext.models.hook_points import hooked
from tl_ext.models.tokens import batch
from tl_ext.steering.generation import steer, steer_each
from tl_ext.steering.generations import Generations
from tl_ext.upstream import prefix_ids

PROMPTS = ["w5 w6 w7 w8 w9", "w12 w13", "w5", "w20 w21 w22 w23"]
NEW = 7
POSITIONS = ("all", "prompt", "generated", "everything")


def push(seed: int = 1, width: int = WIDTH) -> Tensor:
    return 2 * torch.randn(width, generator=torch.Generator().manual_seed(seed))


def edits_at(kind: str) -> Edit:
    if kind == "clamp":
        return Clamp(toy_dictionary(), (2, 9), 5.0)
    return Add(f"blocks.1.{kind}", push())


def continuation(result: Generations, row: int) -> list[int]:
    return result.new_ids[row][result.new_mask[row]].tolist()


def assert_same(one: Generations, other: Generations) -> None:
    assert torch.equal(one.ids, other.ids) and torch.equal(one.mask, other.mask)
    assert one.texts == other.texts
    for name in ("steered_log_probs", "unsteered_log_probs"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), atol=2e-5, rtol=1e-5, equal_nan=True
        )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_makes_no_difference(family: str, positions: Any) -> None:
    model = tiny_model(family)
    plain = steer(model, PROMPTS, max_new_tokens=NEW)
    for kind in ("hook_resid_pre", "attn.hook_z", "clamp"):
        given: dict[str, Any] = {"positions": positions, "max_new_tokens": NEW}
        edit = edits_at(kind)
        kept = steer(model, PROMPTS, edit, **given)
        assert_same(kept, steer(model, PROMPTS, edit, use_cache=False, **given))
        assert not torch.equal(kept.steered_log_probs, plain.steered_log_probs)
        greedy = steer(model, PROMPTS, edit, temperature=0, **given)
        assert_same(greedy, steer(model, PROMPTS, edit, temperature=0, use_cache=False, **given))
    assert not model.list_hooks()


@pytest.mark.parametrize("positions", POSITIONS)
def test_each_token_equals_a_plain_pass_over_all_before_it(positions: Any) -> None:
    """By hand: one text, no cache, no padding, an ordinary hook, the positions spelled out."""
    model, prompt = tiny_model(), "w5 w6 w7"
    vector = push()
    result = steer(
        model,
        [prompt],
        Add(POINT, vector),
        positions=positions,
        max_new_tokens=NEW,
        temperature=0,
        stop_ids=(),
    )
    head = len(prefix_ids(model.tokenizer))
    ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = prefix_ids(model.tokenizer) + ids
    edited = {
        "all": lambda p: p >= head,
        "prompt": lambda p: head <= p < head + 3,
        "generated": lambda p: p >= head + 3,
        "everything": lambda p: True,
    }[positions]
    for step in range(NEW):
        cells = torch.tensor([edited(p) for p in range(len(ids))])[None, :, None]
        with hooked(model, {POINT: lambda x, cells=cells: x + cells * vector}), torch.no_grad():
            logits = model(torch.tensor([ids]))[0, -1]
        token = int(logits.argmax())
        assert result.new_ids[0, step] == token
        expected = float(logits.log_softmax(-1)[token])
        assert float(result.steered_log_probs[0, step]) == pytest.approx(expected, abs=1e-5)
        ids.append(token)


@settings(max_examples=15)
@given(
    st.lists(
        st.lists(st.integers(4, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=5
    ),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(0, 99),
    st.sampled_from([None, 5]),
)
def test_neither_the_batch_nor_the_other_prompts_matter(
    words: list[list[int]], batch_size: int, samples: int, seed: int, top_k: int | None
) -> None:
    model = tiny_model()
    prompts = [" ".join(f"w{word}" for word in text) for text in words]
    given: dict[str, Any] = {
        "samples": samples,
        "seed": seed,
        "top_k": top_k,
        "max_new_tokens": 4,
        "temperature": 0.8,
    }
    edit = edits_at("hook_resid_pre")
    together = steer(model, prompts, edit, **given)
    assert_same(together, steer(model, prompts, edit, batch_size=batch_size, **given))
    prompt = prompts[seed % len(prompts)]
    alone = steer(model, [prompt], edit, **given)
    first = prompts.index(prompt) * samples
    for sample in range(samples):
        assert continuation(alone, sample) == continuation(together, first + sample)


def test_prompts_and_samples_have_noise_of_their_own() -> None:
    model = tiny_model()
    result = steer(model, ["w5 w6", "w5 w6"], samples=3, max_new_tokens=12, stop_ids=())
    assert len({tuple(continuation(result, row)) for row in range(6)}) == 6
    assert result.prompt.tolist() == [0, 0, 0, 1, 1, 1]
    assert result.sample.tolist() == [0, 1, 2, 0, 1, 2]
    again = steer(model, ["w5 w6", "w5 w6"], samples=3, max_new_tokens=12, stop_ids=())
    assert_same(result, again)
    other = steer(model, ["w5 w6"], seed=1, max_new_tokens=12, stop_ids=())
    assert continuation(other, 0) != continuation(result, 0)
    # A larger number of samples or tokens keeps the ones that were there.
    more = steer(model, ["w5 w6"], samples=4, max_new_tokens=14, stop_ids=())
    assert continuation(more, 2)[:12] == continuation(result, 2)


@pytest.mark.parametrize("use_cache", [True, False])
def test_log_probabilities_are_those_of_the_two_models(use_cache: bool) -> None:
    model = tiny_model("llama")
    edit = Add(POINT, push())
    result = steer(
        model, PROMPTS, edit, temperature=0.7, top_k=9, max_new_tokens=NEW, use_cache=use_cache
    )
    assert result.unsteered_log_probs is not None
    width = result.prompt_width
    tokens = batch(model, PROMPTS, padding_side="left")
    content = torch.cat([tokens.content, torch.ones(len(PROMPTS), NEW, dtype=torch.bool)], dim=1)
    for edits, seen in (((edit,), result.steered_log_probs), ((), result.unsteered_log_probs)):
        with applied(model, edits, content), torch.no_grad():
            logits = model(result.ids, attention_mask=result.mask.long())
        expected = logits.log_softmax(-1)[:, width - 1 : -1].gather(-1, result.new_ids[..., None])
        real = result.new_mask
        torch.testing.assert_close(seen[real], expected.squeeze(-1)[real], atol=2e-5, rtol=1e-5)
        assert seen[~real].isnan().all()
    bare = steer(model, PROMPTS, edit, log_probs="steered", max_new_tokens=2)
    assert bare.unsteered_log_probs is None
    none = steer(model, PROMPTS, max_new_tokens=2)
    assert none.unsteered_log_probs is not None
    torch.testing.assert_close(none.unsteered_log_probs, none.steered_log_probs, equal_nan=True)


def test_without_edits_it_is_upstreams_greedy_generation() -> None:
    for family in ("gpt2", "llama"):
        model = tiny_model(family)
        ids = batch(model, PROMPTS[:1]).ids
        with torch.no_grad():
            expected = model.generate(
                ids,
                max_new_tokens=NEW,
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
                return_type="tokens",
            )
        ours = steer(model, PROMPTS[:1], max_new_tokens=NEW, temperature=0, stop_ids=())
        assert torch.equal(ours.ids, expected)


def test_a_stop_token_ends_its_row_and_no_other() -> None:
    model = tiny_model()
    free = steer(model, PROMPTS, max_new_tokens=NEW, stop_ids=())
    assert free.new_mask.all()
    stop = int(free.new_ids[0, 2])
    stopped = steer(model, PROMPTS, max_new_tokens=NEW, stop_ids=[stop])
    for row in range(len(PROMPTS)):
        expected = continuation(free, row)
        if stop in expected:
            expected = expected[: expected.index(stop) + 1]
        assert continuation(stopped, row) == expected
    # Padding, BOS and EOS are one token here, and a prompt may hold it.
    assert model.tokenizer.eos_token_id == model.tokenizer.pad_token_id == 2
    assert steer(model, ["w5 <eos> w6"], max_new_tokens=2).settings["stop_ids"] == [2]
    held = steer(model, ["w5 <eos> w6", "w7"], max_new_tokens=3, stop_ids=())
    assert continuation(held, 0) == continuation(
        steer(model, ["w5 <eos> w6"], max_new_tokens=3, stop_ids=()), 0
    )


def test_a_short_prompt_at_the_first_position_is_spared_and_its_continuation_is_not() -> None:
    model = tiny_model("qwen2")  # no prefix: the only token of this prompt is the first position
    plain = steer(model, ["w5"], max_new_tokens=3, temperature=0, stop_ids=())
    for positions, first_moves in (("all", False), ("everything", True)):
        moved = steer(
            model,
            ["w5"],
            Add(POINT, 5 * push()),
            max_new_tokens=3,
            temperature=0,
            positions=positions,
            stop_ids=(),
        )  # type: ignore[arg-type]
        same = torch.isclose(moved.steered_log_probs[0], plain.steered_log_probs[0], atol=1e-5)
        assert bool(same[0]) != first_moves
        assert not bool(same[1])


def test_nothing_is_left_behind() -> None:
    model = tiny_model()
    tokens = batch(model, PROMPTS)
    with torch.no_grad():
        before = model(tokens.ids, **tokens.forward_arguments())
    calls = []

    def interrupt(tensor: Tensor, hook: Any) -> None:
        calls.append(tensor.shape)
        if len(calls) == 4:
            raise KeyboardInterrupt

    model.add_hook("blocks.2.hook_resid_post", interrupt)
    theirs = set(model.list_hooks())
    try:
        with pytest.raises(KeyboardInterrupt):
            steer(model, PROMPTS, Add(POINT, push()), max_new_tokens=NEW)
        assert model.list_hooks().keys() == theirs
    finally:
        model.reset_hooks()
    assert [shape[1] for shape in calls] == [6, 1, 1, 1]
    with torch.no_grad():
        assert same_bits(model(tokens.ids, **tokens.forward_arguments()), before)


def test_splice_with_the_error_term_changes_nothing_and_without_it_does() -> None:
    model = tiny_model()
    plain = steer(model, PROMPTS, max_new_tokens=NEW)
    kept = steer(model, PROMPTS, Splice(toy_dictionary(), keep_error=True), max_new_tokens=NEW)
    assert_same(plain, kept)
    spliced = steer(model, PROMPTS, Splice(toy_dictionary()), max_new_tokens=NEW)
    assert not torch.equal(plain.steered_log_probs, spliced.steered_log_probs)


def test_a_dictionary_that_needs_context_is_read_without_the_cache() -> None:
    model = tiny_model()
    edit = Clamp(Contextual(toy_dictionary()), 1, 3.0)
    with pytest.raises(InputError, match="use_cache=False"):
        steer(model, PROMPTS, edit)
    together = steer(model, PROMPTS, edit, use_cache=False, max_new_tokens=3, temperature=0)
    for row, prompt in enumerate(PROMPTS):
        alone = steer(model, [prompt], edit, use_cache=False, max_new_tokens=3, temperature=0)
        assert together.texts[row] == alone.texts[0]
        torch.testing.assert_close(
            together.steered_log_probs[row], alone.steered_log_probs[0], atol=1e-5, rtol=1e-4
        )


def test_refusals() -> None:
    model = tiny_model()
    for prompts in ("w5", []):
        with pytest.raises(InputError, match=r"list"):
            steer(model, prompts)
    for option, value in (
        ("max_new_tokens", 0),
        ("samples", 0),
        ("batch_size", 0),
        ("seed", -1),
        ("top_k", 0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("positions", "first"),
        ("log_probs", "none"),
    ):
        with pytest.raises(InputError, match=f"{option} is "):
            steer(model, PROMPTS, **{option: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one text every time"):
        steer(model, PROMPTS, temperature=0, samples=2)
    long = " ".join(["w5"] * (CONTEXT - 4))
    steer(model, [long], max_new_tokens=4)
    with pytest.raises(InputError, match=f"context of {CONTEXT}.*max_new_tokens=4"):
        steer(model, [long], max_new_tokens=5)
    with pytest.raises(HookPointError, match="cannot be edited"):
        steer(model, PROMPTS, Add("blocks.1.hook_resid_mid", push()))
    with pytest.raises(InputError, match="width 5"):
        steer(model, PROMPTS, Add(POINT, torch.ones(5)))
    assert not model.list_hooks()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_told(temperature: float) -> None:
    broken = make_tiny_model()
    broken.original_model.transformer.ln_f.weight.data[0] = math.nan
    with pytest.raises(InputError, match="new token 0 are NaN or infinite in 1 of 1 rows"):
        steer(broken, ["w5 w6"], max_new_tokens=2, temperature=temperature)
    with pytest.raises(InputError, match="an edit that is too strong"):
        steer(tiny_model(), ["w5 w6"], Add(POINT, torch.full((WIDTH,), 3e38)), max_new_tokens=2)


@settings(max_examples=4)
@given(st.integers(1, 9), st.integers(1, 2), st.sampled_from(POSITIONS), st.integers(0, 9))
def test_many_conditions_are_each_as_alone(
    batch_size: int, samples: int, positions: Any, seed: int
) -> None:
    model = tiny_model("llama")
    other = "blocks.2.hook_resid_pre"
    conditions: list[Any] = [
        Add(POINT, push()),
        (),
        [Add(other, push(2)), Add(POINT, push(3)), Add(POINT, push(4).double())],
        Clamp(toy_dictionary(), (2, 9), 5.0),
        [Add(other, -push(2))],
    ]
    given: dict[str, Any] = {
        "samples": samples,
        "positions": positions,
        "seed": seed,
        "max_new_tokens": 4,
    }
    together = steer_each(model, PROMPTS, conditions, batch_size=batch_size, **given)
    assert len(together) == len(conditions)
    for condition, found in zip(conditions, together, strict=True):
        alone = steer(model, PROMPTS, condition, **given)
        assert_same(found, alone)
        assert found.settings == alone.settings
        assert found.prompt.tolist() == alone.prompt.tolist()
        assert found.sample.tolist() == alone.sample.tolist()


def test_a_text_written_under_several_conditions_is_read_once_by_the_unedited_model() -> None:
    model = tiny_model()
    weak = [Add(POINT, 1e-7 * push(seed)) for seed in range(6)]
    rows = []
    with hooked(model, {POINT: lambda x: rows.append(x.shape)}):
        found = steer_each(model, PROMPTS, weak, max_new_tokens=2, batch_size=100)
    assert len({each.texts for each in found}) == 1
    assert [tuple(shape)[:2] for shape in rows] == [(24, 6), (24, 1), (4, 7)]


def test_conditions_are_checked() -> None:
    model = tiny_model()
    with pytest.raises(InputError, match="no conditions"):
        steer_each(model, PROMPTS, [])
    with pytest.raises(InputError, match="one forward pass"):
        steer(model, PROMPTS, AddEach(POINT, torch.ones(4, WIDTH)))
    with pytest.raises(InputError, match="widths \\[5, 24\\]"):
        steer_each(model, PROMPTS, [Add(POINT, push()), Add(POINT, torch.ones(5))])
