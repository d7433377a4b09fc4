"""Classifiers, token classifiers and the bare model: what transformers gives, hooked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.interventions.toy import toy_dictionary
from tests.models.qwen2 import checkpoints
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import tl_ext
from tl_ext.activations import capture
from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Add
from tl_ext.models.loading import Processing, load_model
from tl_ext.models.tokens import batch

SEQUENCE = "Qwen2ForSequenceClassification"
TOKEN = "Qwen2ForTokenClassification"
BARE = "Qwen2Model"
CLASSES = 3
SHAPES = {SEQUENCE: (2, CLASSES), TOKEN: (2, 5, CLASSES), BARE: (2, 5, 24)}
PADDING = 300


def tokens(side: str = "right") -> tuple[Tensor, Tensor]:
    """Two rows, the second three tokens shorter, and their mask."""
    short = [7, 8] + [PADDING] * 3 if side == "right" else [PADDING] * 3 + [7, 8]
    ids = torch.tensor([[5, 6, 7, 8, 9], short])
    return ids, (ids != PADDING).long()


def result(output: Any) -> Tensor:
    """The tensor of a transformers output that the bridge gives."""
    logits: Tensor = getattr(output, "logits", None)
    return output.last_hidden_state if logits is None else logits


def reference(name: str, **changes: Any) -> Any:
    model = checkpoints.make(name, num_labels=CLASSES, **changes)
    model.set_attn_implementation("eager")
    return model


@pytest.fixture(scope="module", params=sorted(SHAPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(name)
    checkpoints.write(path, name, num_labels=CLASSES)
    return path


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Any:
    return load_model(folder)


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_result_is_that_of_transformers(name: str, bridge: Any, side: str) -> None:
    ids, mask = tokens(side)
    theirs = result(reference(name)(ids, attention_mask=mask, position_ids=positions(mask)))
    ours = bridge(ids, attention_mask=mask)
    assert ours.shape == SHAPES[name]
    held = slice(None) if name == SEQUENCE else mask.bool()
    torch.testing.assert_close(ours[held], theirs[held], atol=1e-5, rtol=1e-5)
    if side == "right":  # causal: padding after a text changes nothing before it
        torch.testing.assert_close(bridge(ids)[held], ours[held], atol=1e-5, rtol=1e-5)


def positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def test_one_padded_batch_gives_what_single_texts_give(name: str, bridge: Any) -> None:
    texts = ["The cat sat on the mat.", "Le chat"]
    single = [bridge(texts[0]), bridge(texts[1])]
    for side in ("right", "left"):
        built = batch(bridge, texts, padding_side=side)
        ours = bridge(built.ids, **built.forward_arguments())
        listed = bridge(texts, padding_side=side)
        for row, alone in enumerate(single):
            held = slice(None) if name == SEQUENCE else built.mask[row]
            torch.testing.assert_close(ours[row][held], alone[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(listed[row][held], alone[0], atol=1e-5, rtol=1e-5)


def test_boot_transformers_loads_the_checkpoints_own_head(name: str, folder: Path) -> None:
    """Left to itself upstream takes AutoModelForCausalLM and makes an unembedding at random."""
    tl_ext.activate(quiet=True)
    plain = TransformerBridge.boot_transformers(str(folder))
    assert type(plain.original_model).__name__ == name
    ids, mask = tokens()
    theirs = result(reference(name)(ids, attention_mask=mask))
    torch.testing.assert_close(plain(ids, attention_mask=mask), theirs, atol=1e-5, rtol=1e-5)
    empty = TransformerBridge.boot_transformers(str(folder), load_weights=False)
    assert type(empty.original_model).__name__ == name


def test_a_model_in_memory_is_known_by_its_own_class(name: str, bridge: Any) -> None:
    model = checkpoints.make(name, num_labels=CLASSES)
    model.config.architectures = ["Qwen2ForCausalLM"]  # as for a part of a causal checkpoint
    hooked = load_model(model, tokenizer=bridge.tokenizer)
    assert hooked.cfg.architecture == name
    ids, mask = tokens()
    torch.testing.assert_close(hooked(ids, attention_mask=mask), bridge(ids, attention_mask=mask))


def test_every_hook_is_cached_and_the_head_is_among_them(name: str, bridge: Any) -> None:
    ids, mask = tokens()
    out, cache = bridge.run_with_cache(ids, attention_mask=mask)
    final = cache["ln_final.hook_out"]
    assert cache["blocks.2.hook_resid_post"].shape == final.shape == (2, 5, 24)
    assert "unembed.hook_out" not in cache
    if name == BARE:
        assert "classifier.hook_out" not in cache
        torch.testing.assert_close(out, final)
        return
    assert bridge.cfg.d_vocab_out == CLASSES
    torch.testing.assert_close(cache["classifier.hook_in"], final)
    scores = bridge.classifier(final)
    torch.testing.assert_close(cache["classifier.hook_out"], scores)
    last = mask.sum(-1) - 1
    expected = scores if name == TOKEN else scores[torch.arange(2), last]
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    "point",
    [
        "hook_embed",
        "blocks.1.hook_resid_pre",
        "blocks.1.hook_attn_out",
        "blocks.1.hook_mlp_out",
        "blocks.1.attn.hook_z",
        "blocks.2.hook_resid_post",
    ],
)
def test_an_edit_does_what_a_plain_torch_hook_does(name: str, bridge: Any, point: str) -> None:
    ids, mask = tokens()
    model = reference(name)
    core = getattr(model, "model", model)
    generator = torch.Generator().manual_seed(1)
    shift = torch.randn(24, generator=generator)
    modules = {
        "hook_embed": (core.embed_tokens, "out"),
        "blocks.1.hook_resid_pre": (core.layers[1], "in"),
        "blocks.1.hook_attn_out": (core.layers[1].self_attn.o_proj, "out"),
        "blocks.1.hook_mlp_out": (core.layers[1].mlp, "out"),
        "blocks.1.attn.hook_z": (core.layers[1].self_attn.o_proj, "in"),
        "blocks.2.hook_resid_post": (core.layers[2], "out"),
    }
    module, where = modules[point]
    if where == "out":
        module.register_forward_hook(lambda _m, _a, output: output + shift)
    else:
        module.register_forward_pre_hook(lambda _m, args: (args[0] + shift, *args[1:]))
    theirs = result(model(ids, attention_mask=mask))

    def edit(tensor: Tensor, hook: Any) -> Tensor:
        return tensor + shift.reshape(tensor.shape[2:])

    ours = bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=[(point, edit)])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - bridge(ids, attention_mask=mask)).abs().max() > 1e-2


def test_edits_at_the_head_reach_the_scores(name: str, bridge: Any) -> None:
    ids, mask = tokens()
    if name == BARE:
        assert not hasattr(bridge, "classifier")
        return
    base = bridge(ids, attention_mask=mask)
    shift = torch.linspace(-1, 1, 24)

    def move(tensor: Tensor, hook: Any) -> Tensor:
        return tensor + (shift if hook.name.endswith("hook_in") else 5.0)

    fed = bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=[("classifier.hook_in", move)])
    weight = bridge.original_model.score.weight
    torch.testing.assert_close(fed, base + weight @ shift, atol=1e-5, rtol=1e-5)
    told = bridge.run_with_hooks(
        ids, attention_mask=mask, fwd_hooks=[("classifier.hook_out", move)]
    )
    torch.testing.assert_close(told, base + 5.0)


def test_capture_and_edits_of_this_package_work(name: str, bridge: Any) -> None:
    texts = ["The cat sat", "Le chat est très content."]
    at = "blocks.1.hook_resid_pre"
    built = batch(bridge, texts)
    _, cache = bridge.run_with_cache(built.ids, **built.forward_arguments())
    torch.testing.assert_close(capture.run(bridge, built, [at])[at], cache[at])
    base = bridge(built.ids, **built.forward_arguments())
    with applied(bridge, [Add(at, torch.ones(24))]):
        moved = bridge(built.ids, **built.forward_arguments())
    assert (moved - base).abs().max() > 1e-3
    torch.testing.assert_close(bridge(built.ids, **built.forward_arguments()), base)


def test_what_cannot_work_says_so(name: str, bridge: Any, folder: Path) -> None:
    ids, mask = tokens()
    with pytest.raises(NotImplementedError, match=f"generation is not supported by the {name}"):
        bridge.generate("The cat", max_new_tokens=1)
    with pytest.raises(NotImplementedError, match=f"{name} does not support .* causal loss"):
        bridge(ids, attention_mask=mask, return_type="loss")
    with pytest.raises(RuntimeError, match="does not support compatibility mode"):
        bridge.enable_compatibility_mode()
    with pytest.raises(InputError, match=rf"{name} cannot be processed \(compatibility\)"):
        load_model(folder, processing=Processing.COMPATIBILITY)
    dictionary = toy_dictionary()
    for asked in (
        lambda: tl_ext.token_probabilities(bridge, "The cat"),
        lambda: tl_ext.evaluate_dictionary(bridge, dictionary, ["The cat"]),
        lambda: tl_ext.output_scores(bridge, dictionary, [1]),
        lambda: tl_ext.ablation_effects(
            bridge, dictionary, [tl_ext.Example("The cat", "cat")], {"a": [1]}, words=[" cat"]
        ),
    ):
        with pytest.raises(InputError, match=f"{name} does not predict the next token"):
            asked()


def test_loaded_as_another_class_it_is_refused(name: str, folder: Path) -> None:
    """As happens where the fix of booting was taken back."""
    from transformers import AutoModelForCausalLM

    tl_ext.activate(quiet=True)
    with pytest.raises(InputError, match=f"is a {name} and was loaded as Qwen2ForCausalLM"):
        TransformerBridge.boot_transformers(str(folder), model_class=AutoModelForCausalLM)


@pytest.mark.parametrize("other", ["Qwen2ForProcessRewardModel", "Qwen2ForQuestionAnswering"])
def test_another_head_is_not_replaced_by_an_unembedding_at_random(
    other: str, tmp_path: Path
) -> None:
    """Upstream goes by the model type then; some published reward models are of such a class."""
    checkpoints.write(tmp_path, BARE)
    stated = json.loads((tmp_path / "config.json").read_text())
    stated["architectures"] = [other]
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match=f"is a {other}.* loaded as Qwen2ForCausalLM"):
        load_model(tmp_path)


def test_padding_the_classifier_does_not_know_is_refused(tmp_path: Path) -> None:
    """transformers would read the score off a padding position."""
    checkpoints.write(tmp_path, SEQUENCE, num_labels=1, pad_token_id=299)
    bridge = load_model(tmp_path)
    ids, mask = tokens()  # padded with another id than the config's
    with pytest.raises(InputError, match="Row 1: its score would be read at position 4"):
        bridge(ids, attention_mask=mask)
    left, mask = tokens("left")
    assert bridge(left, attention_mask=mask).shape == (2, 1)


def test_without_a_padding_id_one_text_at_a_time(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, SEQUENCE, num_labels=1, pad_token_id=None)
    bridge = load_model(tmp_path)
    ids, mask = tokens()
    alone = bridge(ids[:1], attention_mask=mask[:1])
    _, cache = bridge.run_with_cache(ids[:1])
    torch.testing.assert_close(alone, cache["classifier.hook_out"][:, -1])
    with pytest.raises(ValueError, match="no padding token is defined"):
        bridge(torch.cat([ids[:1], ids[:1]]))


def test_embeddings_are_scored_at_the_last_position(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, SEQUENCE, num_labels=CLASSES)
    bridge = load_model(tmp_path)
    ids, mask = tokens("left")
    embeddings = bridge.embed(ids)
    torch.testing.assert_close(
        bridge(embeddings, attention_mask=mask, position_ids=positions(mask)),
        bridge(ids, attention_mask=mask),
        atol=1e-5,
        rtol=1e-5,
    )
    ids, mask = tokens("right")
    with pytest.raises(InputError, match="which the attention mask hides"):
        bridge(bridge.embed(ids), attention_mask=mask)


def test_an_embedder_whose_attention_is_not_causal(tmp_path: Path) -> None:
    """transformers reads `is_causal` off the config, as some published embedders set it."""
    checkpoints.write(tmp_path, BARE, is_causal=False)
    bridge = load_model(tmp_path)
    ids, mask = tokens()
    theirs = result(reference(BARE, is_causal=False)(ids, attention_mask=mask))
    ours, cache = bridge.run_with_cache(ids, attention_mask=mask)
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-5, rtol=1e-5)
    assert cache["blocks.0.attn.hook_pattern"][0, 0, 0, 4] > 0
