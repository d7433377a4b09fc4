"""A prefix of several tokens is what BOS is elsewhere, in everything that reads a string."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.fixes.tiny_models import booted
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    GlmConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from tl_ext.fixes.transformerlens.multi_token_prefix import (
    SLUG,  # noqa: F401 - for the fixture `fixed`
    wrap_get_attention_mask,
    wrap_to_tokens,
)

MASK, SOP, EOS, PAD, BOS = 1, 2, 3, 4, 5
SIZE = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16,
}


def tokenizer(
    template: str | None = "[gMASK] sop $A", *, side: str = "left", **special: str
) -> PreTrainedTokenizerFast:
    """One word, one token: `w7` is 7. `[gMASK] sop` comes first and there is no BOS."""
    names = ["<unk>", "[gMASK]", "sop", "</s>", "<pad>", "<s>", *(f"w{n}" for n in range(6, 40))]
    vocabulary = {name: number for number, name in enumerate(names)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        words.post_processor = processors.TemplateProcessing(
            single=template,
            special_tokens=[(name, vocabulary[name]) for name in names if name in template],
        )
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side=side, **special)


def boot(config: Any, given: PreTrainedTokenizerFast) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.config.architectures = [type(model).__name__]
    return booted(model, given)


def glm(given: PreTrainedTokenizerFast) -> Any:
    return boot(GlmConfig(**SIZE, head_dim=8, pad_token_id=PAD, eos_token_id=EOS), given)


@pytest.fixture(scope="module")
def bridge() -> Any:
    return glm(tokenizer())


def test_upstream_as_it_is_puts_eos_behind_the_prefix_and_cannot_leave_it_out(bridge: Any) -> None:
    assert bridge.to_tokens("w7", prepend_bos=True).tolist() == [[MASK, SOP, EOS, 7]]
    assert bridge.to_tokens("w7", prepend_bos=False).tolist() == [[MASK, SOP, 7]]
    with pytest.raises(AssertionError, match="not a single token"):
        bridge.to_single_token("w7")


@pytest.mark.usefixtures("fixed")
class TestFixed:
    @pytest.mark.parametrize("default", [True, False])
    def test_the_prefix_is_there_or_it_is_not(
        self, bridge: Any, monkeypatch: pytest.MonkeyPatch, default: bool
    ) -> None:
        monkeypatch.setattr(bridge.cfg, "default_prepend_bos", default)
        assert bridge.to_tokens("w7 w8").tolist() == [[MASK, SOP, 7, 8]]
        assert bridge.to_tokens("w7 w8", True).tolist() == [[MASK, SOP, 7, 8]]
        assert bridge.to_tokens("w7 w8", prepend_bos=False).tolist() == [[7, 8]]
        assert bridge.to_tokens("").tolist() == [[MASK, SOP]]
        empty = bridge.to_tokens("", prepend_bos=False)
        assert (tuple(empty.shape), empty.dtype) == ((1, 0), torch.int64)

    def test_padding_stands_where_it_is_asked_for(self, bridge: Any) -> None:
        texts = ["w7", "w7 w8 w9"]
        assert bridge.to_tokens(texts).tolist() == [
            [PAD, PAD, MASK, SOP, 7],
            [MASK, SOP, 7, 8, 9],
        ]
        right = bridge.to_tokens(texts, padding_side="right")
        assert right.tolist() == [[MASK, SOP, 7, PAD, PAD], [MASK, SOP, 7, 8, 9]]
        alone = bridge.to_tokens(texts, False, "left")
        assert alone.tolist() == [[PAD, PAD, 7], [7, 8, 9]]
        alone = bridge.to_tokens(texts, False, padding_side="right", move_to_device=False)
        assert alone.tolist() == [[7, PAD, PAD], [7, 8, 9]]

    def test_what_is_too_long_is_cut_where_that_is_asked_for(self, bridge: Any) -> None:
        text = " ".join(["w7"] * 20)
        assert bridge.to_tokens(text).shape == (1, 16)
        assert bridge.to_tokens(text, prepend_bos=False).shape == (1, 16)
        assert bridge.to_tokens(text, truncate=False).shape == (1, 22)
        assert bridge.to_tokens(text, prepend_bos=False, truncate=False).shape == (1, 20)

    def test_everything_about_tokens_agrees(self, bridge: Any) -> None:
        assert bridge.to_single_token("w7") == 7
        assert bridge.get_token_position("w8", "w7 w8") == 3
        assert bridge.get_token_position("w8", "w7 w8", prepend_bos=False) == 1
        assert bridge.get_token_position("w7", "w7 w8 w7", mode="last") == 4
        assert bridge.to_str_tokens("w7") == ["[gMASK]", "sop", "w7"]
        assert bridge.to_str_tokens("w7", prepend_bos=False) == ["w7"]

    def test_a_string_is_read_as_its_tokens_are(self, bridge: Any) -> None:
        text = "w7 w8 w9"
        for asked in (None, True, False):
            tokens = bridge.to_tokens(text, prepend_bos=asked)
            want, cache = bridge.run_with_cache(tokens)
            torch.testing.assert_close(bridge(text, prepend_bos=asked), want)
            got, cached = bridge.run_with_cache(text, prepend_bos=asked)
            torch.testing.assert_close(got, want)
            assert (
                cached["blocks.1.hook_resid_post"].shape == cache["blocks.1.hook_resid_post"].shape
            )
            loss = bridge(text, return_type="loss", prepend_bos=asked)
            torch.testing.assert_close(loss, bridge(tokens, return_type="loss"))
            new = bridge.generate(
                text,
                max_new_tokens=3,
                do_sample=False,
                prepend_bos=asked,
                return_type="tokens",
                stop_at_eos=False,
                verbose=False,
            )
            assert new[0, : tokens.shape[1]].tolist() == tokens[0].tolist()
            same = bridge.generate(
                tokens, max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False
            )
            assert new.tolist() == same.tolist()

    @pytest.mark.parametrize("prepends", [True, False])
    def test_rows_of_a_corpus_begin_with_the_prefix(self, bridge: Any, prepends: bool) -> None:
        from datasets import Dataset
        from transformer_lens import utilities

        texts = ["w7 w8 w9", "w10 w11", "w12 w13 w14 w15"]
        rows = utilities.tokenize_and_concatenate(
            Dataset.from_dict({"text": texts}),
            bridge.tokenizer,
            max_length=6,
            add_bos_token=prepends,
            num_proc=None,
        )["tokens"][:]
        joined = [7, 8, 9, EOS, 10, 11, EOS, 12, 13, 14, 15]
        head, width = ([MASK, SOP], 4) if prepends else ([], 6)
        want = [head + joined[n : n + width] for n in range(0, len(joined) - width + 1, width)]
        assert torch.stack(list(rows)).tolist() == want

    def test_texts_read_together_are_read_as_they_are_alone(self, bridge: Any) -> None:
        texts = ["w7", "w7 w8 w9"]
        together = bridge(texts)
        for row, text in enumerate(texts):
            alone = bridge(text)[0]
            torch.testing.assert_close(together[row, -len(alone) :], alone)


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("default", [True, False])
def test_where_padding_is_eos_it_is_not_taken_for_bos(default: bool) -> None:
    """GLM-4's tokenizer pads with its EOS, which booting makes its BOS too."""
    bridge = glm(tokenizer(pad_token="</s>"))
    bridge.cfg.default_prepend_bos = default
    assert bridge.tokenizer.bos_token_id == bridge.tokenizer.pad_token_id == EOS
    together = bridge(["w7", "w7 w8 w9"])
    torch.testing.assert_close(together[0, -3:], bridge("w7")[0])
    short, long = (
        bridge.generate(text, max_new_tokens=3, do_sample=False, verbose=False, stop_at_eos=False)
        for text in ("w7", "w7 w8 w9")
    )
    both = bridge.generate(
        ["w7", "w7 w8 w9"], max_new_tokens=3, do_sample=False, verbose=False, stop_at_eos=False
    )
    assert [text.split()[-3:] for text in both] == [short.split()[-3:], long.split()[-3:]]


OTHERS = {
    "no prefix, no BOS": tokenizer(None),
    "one token that is no BOS": tokenizer("sop $A"),
    "BOS": tokenizer("<s> $A", bos_token="<s>"),
    "BOS, EOS behind": tokenizer("<s> $A </s>", bos_token="<s>"),
    "CLS": tokenizer("<s> $A </s>", cls_token="<s>", sep_token="</s>"),
    "BOS that is not put there": tokenizer(None, bos_token="<s>"),
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Bridges whose tokenizer has another policy; one with a BOS must be read from a folder."""
    found = {}
    for number, (name, made) in enumerate(OTHERS.items()):
        folder = tmp_path_factory.mktemp(f"tokenizer{number}")
        made.save_pretrained(folder)
        read = PreTrainedTokenizerFast.from_pretrained(folder)
        found[name] = boot(LlamaConfig(**SIZE), read)
    gpt2 = GPT2Config(vocab_size=40, n_embd=24, n_layer=1, n_head=3, n_positions=16)
    found["another model"] = boot(gpt2, tokenizer(None))
    return found


@given(
    texts=st.lists(
        st.lists(st.sampled_from([f"w{n}" for n in range(6, 12)]), min_size=1, max_size=20),
        min_size=1,
        max_size=3,
    ),
    asked=st.sampled_from([None, True, False]),
    side=st.sampled_from([None, "left", "right"]),
)
def test_any_other_tokenizer_goes_to_the_original(
    others: dict[str, Any], texts: list[list[str]], asked: bool | None, side: str | None
) -> None:
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities import get_attention_mask

    given = [" ".join(text) for text in texts]
    for name, bridge in others.items():
        outcomes = []
        for to_tokens, mask_of in (
            (TransformerBridge.to_tokens, get_attention_mask),
            (
                wrap_to_tokens(TransformerBridge.to_tokens),
                wrap_get_attention_mask(get_attention_mask),
            ),
        ):
            try:
                tokens = to_tokens(bridge, given, asked, padding_side=side)
                mask = mask_of(bridge.tokenizer, tokens, bool(asked))
                outcomes.append((tokens.tolist(), mask.tolist()))
            except ValueError as error:  # 4.x refuses to remove a BOS that was cut off
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1], name
