"""Loading: the caller's tokenizer, processing, and what upstream must not do to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.tiny import make_tiny_model, tiny_hf_model, tiny_tokenizer

from tl_ext import upstream
from tl_ext.errors import InputError
from tl_ext.models.loading import Processing, load_model, processing_of
from tl_ext.models.tokens import batch


def state(tokenizer: object) -> object:
    return (
        len(tokenizer),
        tokenizer.special_tokens_map,
        tokenizer.padding_side,
        tokenizer.chat_template,
        tokenizer.backend_tokenizer.to_str(),
    )


def test_the_callers_tokenizer_is_unharmed_and_a_copy_is_used() -> None:
    """In memory, with added tokens and a chat template: upstream refuses it or loses them."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.padding_side = "left"
    tokenizer.add_tokens(["xhosa"])
    model = tiny_hf_model("gpt2")
    model.resize_token_embeddings(len(tokenizer))
    before = state(tokenizer)
    hooked = load_model(model, tokenizer=tokenizer)
    assert state(tokenizer) == before == state(hooked.tokenizer)
    assert hooked.tokenizer is not tokenizer
    assert batch(hooked, ["w5 xhosa"]).ids.tolist() == [[2, 5, 61]]


def test_a_missing_padding_token_is_settled_on_the_copy_alone() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    hooked = load_model(tiny_hf_model("gpt2"), tokenizer=tokenizer)
    assert tokenizer.pad_token is None
    assert hooked.tokenizer.pad_token == "<eos>"


def test_a_model_without_bos_gets_none() -> None:
    hooked = make_tiny_model("qwen2")
    assert hooked.tokenizer.bos_token is None
    assert hooked.cfg.default_prepend_bos is False
    assert batch(hooked, ["w5 w6"]).ids.tolist() == [[5, 6]]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_folder_loads_as_the_model_in_memory_does(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_hf_model(family), tiny_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    from_folder = load_model(tmp_path)
    in_memory = load_model(model, tokenizer=tokenizer)
    tokens = batch(from_folder, ["w5 w6 w7"])
    with torch.no_grad():
        torch.testing.assert_close(
            from_folder(tokens.ids, **tokens.forward_arguments()),
            in_memory(tokens.ids, **tokens.forward_arguments()),
        )


def test_logits_are_those_of_hugging_face() -> None:
    from transformers import AutoModelForCausalLM

    model = tiny_hf_model("gpt2")
    expected_of = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").eval()
    expected_of.load_state_dict(model.state_dict())
    hooked = load_model(model, tokenizer=tiny_tokenizer())
    tokens = batch(hooked, ["w5 w6 w7", "w8"])
    with torch.no_grad():
        logits = hooked(tokens.ids, **tokens.forward_arguments())
        expected = expected_of(tokens.ids, attention_mask=tokens.mask.long()).logits
    torch.testing.assert_close(logits[tokens.mask], expected[tokens.mask], atol=1e-5, rtol=1e-4)


def test_processing_keeps_log_probabilities_and_is_remembered() -> None:
    tokenizer = tiny_tokenizer()
    raw = load_model(tiny_hf_model("gpt2"), tokenizer=tokenizer)
    processed = load_model(
        tiny_hf_model("gpt2"), tokenizer=tokenizer, processing=Processing.COMPATIBILITY
    )
    tokens = batch(raw, ["w5 w6 w7"])
    with torch.no_grad():
        both = [
            model(tokens.ids, **tokens.forward_arguments()).log_softmax(-1)
            for model in (raw, processed)
        ]
    torch.testing.assert_close(*both, atol=1e-4, rtol=1e-4)
    assert processing_of(raw) == Processing.RAW
    assert processing_of(processed) == Processing.COMPATIBILITY


def test_processing_of_a_model_loaded_elsewhere_is_read_off_it() -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(
        "tiny", hf_model=tiny_hf_model("gpt2"), tokenizer=upstream.stand_in_tokenizer()
    )
    assert processing_of(model) == Processing.RAW
    model.enable_compatibility_mode(disable_warnings=True)
    assert processing_of(model) == Processing.COMPATIBILITY


@pytest.mark.parametrize(
    ("processing", "told"),
    [
        (Processing.RAW, "raw"),
        (Processing.COMPATIBILITY, "compatibility"),
        (Processing(center_unembed=True), "center_unembed"),
    ],
)
def test_processing_is_named(processing: Processing, told: str) -> None:
    assert str(processing) == told


def test_bad_input_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Pass tokenizer="):
        load_model(tiny_hf_model("gpt2"))
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        load_model(tmp_path / "missing")


def test_a_name_that_leads_nowhere_says_so() -> None:
    for given in ({}, {"tokenizer": tiny_tokenizer()}):
        with pytest.raises(InputError, match="'not-there' leads to no model") as raised:
            load_model("not-there", **given)
        assert isinstance(raised.value.__cause__, OSError)


def test_an_unreadable_checkpoint_and_missing_shipped_weights_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_hf_model("gpt2").config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path, tokenizer=tiny_tokenizer())
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(InputError, match="weights of the testbed are missing"):
        load_model("testbed")


def test_an_architecture_nobody_knows_is_told_before_anything_is_read(tmp_path: Path) -> None:
    config = {"model_type": "nobody", "architectures": ["NobodyForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = r"is a NobodyForCausalLM \(model_type 'nobody'\).*tl-ext adapters --upstream.*nobody"
    with pytest.raises(InputError, match=told) as raised:
        load_model(tmp_path)
    assert "\n" not in str(raised.value)
    # Known to transformers, not to TransformerLens.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "prophetnet"}))
    with pytest.raises(InputError, match=r"names no architecture.*'prophetnet'"):
        load_model(tmp_path)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    """transformers makes an empty one, with which every text would be no tokens."""
    tiny_hf_model("qwen2").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has no tokenizer.*Qwen2Tokenizer.*tokenizer\.json"):
        load_model(tmp_path)


def test_a_model_in_memory_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU upstream believes that batches go there, wherever the weights are."""
    sources = "transformer_lens.model_bridge.sources.transformers"
    place = f"{sources}.source" if upstream.transformer_lens_major() > 3 else sources
    monkeypatch.setattr(f"{place}.get_device", lambda *_: "cuda")
    assert str(make_tiny_model("gpt2").cfg.device) == "cpu"
