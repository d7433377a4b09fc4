"""A model reads texts with the tokenizer it was given, as it was given, and nothing is read again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixes.tiny_models import booted
from tests.tiny import VOCABULARY, tiny_hf_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tl_ext import fixes
from tl_ext.fixes.transformerlens.callers_tokenizer_reloaded_at_boot import SLUG
from tl_ext.models.loading import load_model

UNK, BOS, EOS, PAD = range(4)
NAMES = ("<unk>", "<bos>", "<eos>", "<pad>")
WORDS = {name: id for id, name in enumerate((*NAMES, *(f"w{n}" for n in range(4, VOCABULARY))))}


def tokenizer(template: str | None = None, **special: str | None) -> Any:
    """One made in memory; `w7` is 7."""
    words = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        words.post_processor = processors.TemplateProcessing(
            single=template,
            special_tokens=[(name, WORDS[name]) for name in template.split() if name in WORDS],
        )
    named = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    kept = {name: token for name, token in (named | special).items() if token}
    return PreTrainedTokenizerFast(tokenizer_object=words, **kept)


def read_again(made: Any, folder: Path, **options: Any) -> Any:
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, **options)


def boot(given: Any, family: str = "llama", model: Any = None) -> Any:
    return booted(tiny_hf_model(family) if model is None else model, given)


def changed(folder: Path) -> Any:
    """A tokenizer read from a folder and then given all that a user gives one."""
    found = read_again(tokenizer(), folder)
    found.add_tokens(["xhosa", "isiZulu"])
    found.add_special_tokens({"additional_special_tokens": ["<lang>"]})
    found.pad_token = "<unk>"
    found.padding_side = "left"
    found.chat_template = "{{ messages }}"
    found.model_max_length = 40
    return found


def test_upstream_as_it_is_loses_what_was_changed(tmp_path: Path) -> None:
    found = changed(tmp_path)
    after = boot(found).tokenizer
    assert len(found) - len(after) == 3
    assert (after.chat_template, after.pad_token) == (None, "<pad>")
    with pytest.raises(KeyError, match="name_or_path"):
        boot(tokenizer())


@pytest.mark.usefixtures("fixed")
class TestFixed:
    def test_what_was_changed_is_there_and_the_callers_is_left_alone(self, tmp_path: Path) -> None:
        found = changed(tmp_path)
        model = tiny_hf_model("llama")
        model.resize_token_embeddings(len(found))
        before = (str(found), found("w5 xhosa")["input_ids"], found.backend_tokenizer.to_str())
        bridge = boot(found, model=model)
        after = bridge.tokenizer
        text = "w5 xhosa <lang>"
        assert bridge.to_tokens(text, prepend_bos=False).tolist() == [[5, 61, 63]]
        assert bridge.to_tokens(text).tolist() == [[BOS, 5, 61, 63]]
        for name in ("chat_template", "pad_token_id", "padding_side", "model_max_length"):
            assert getattr(after, name) == getattr(found, name), name
        assert after is not found and len(after) == len(found)
        after.add_tokens(["later"])
        assert before == (
            str(found),
            found("w5 xhosa")["input_ids"],
            found.backend_tokenizer.to_str(),
        )
        want = model(torch.tensor([[BOS, 5, 61, 63]])).logits
        torch.testing.assert_close(bridge(text), want)

    def test_one_made_in_memory_is_read_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any, **options: Any) -> None:
            raise AssertionError("a tokenizer was read")

        monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
        bridge = boot(tokenizer())
        assert bridge.to_tokens("w5").tolist() == [[BOS, 5]]
        other = tokenizer()
        other.add_tokens(["new"])
        bridge.tokenizer = other
        assert bridge.to_tokens("w5 new").tolist() == [[BOS, 5, VOCABULARY]]
        assert bridge.tokenizer.pad_token == "<pad>"

    def test_where_padding_or_eos_are_missing_they_are_found_as_ever(self) -> None:
        bridge = boot(tokenizer(pad_token=None))
        assert bridge.tokenizer.pad_token == "<eos>"
        assert bridge.to_tokens(["w5 w6", "w7"]).tolist() == [[BOS, 5, 6], [BOS, 7, EOS]]

    def test_a_bos_that_no_template_can_hold_is_put_there_by_to_tokens(self) -> None:
        made = tokenizer()
        made.add_special_tokens({"bos_token": "<seed:bos>"})
        bridge = boot(made)
        assert not bridge.cfg.tokenizer_prepends_bos
        assert bridge.to_tokens("w5").tolist() == [[VOCABULARY, 5]]
        assert bridge.to_tokens("w5", prepend_bos=False).tolist() == [[5]]

    def test_what_upstream_takes_as_it_is_is_still_taken_so(self, tmp_path: Path) -> None:
        without = tokenizer(bos_token=None)
        assert boot(without).tokenizer is without
        told = read_again(tokenizer(), tmp_path, add_bos_token=True)
        assert boot(told).tokenizer is told

    def test_our_own_loading_is_as_it_was(self) -> None:
        made = tokenizer()
        made.add_tokens(["new"])
        model = load_model(tiny_hf_model("gpt2"), tokenizer=made)
        assert model.to_tokens("w5").tolist() == [[BOS, 5]]
        assert len(model.tokenizer) == len(made)

    @pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
    def test_a_hooked_transformer_gets_it_too(self) -> None:
        legacy = pytest.importorskip("transformer_lens.HookedTransformer")
        made = tokenizer()
        made.chat_template = "{{ messages }}"
        sizes = {"n_layers": 1, "d_model": 8, "n_ctx": 8, "d_head": 4, "n_heads": 2}
        config = legacy.HookedTransformerConfig(**sizes, d_vocab=VOCABULARY, act_fn="gelu")
        model = legacy.HookedTransformer(config, tokenizer=made)
        assert model.to_tokens("w5").tolist() == [[BOS, 5]]
        assert model.tokenizer.chat_template == made.chat_template


@pytest.mark.parametrize("template", ["w40 <bos> $A", "<bos> w40 $A", "w40 w41 $A"])
@pytest.mark.parametrize(
    "slugs", [(SLUG,), (SLUG, "multi-token-prefix"), ("multi-token-prefix", SLUG)]
)
def test_a_prefix_of_its_own_is_kept(template: str, slugs: tuple[str, ...]) -> None:
    made = tokenizer(template)
    want = made("w5 w6")["input_ids"]
    with ExitStack() as stack:
        for slug in slugs:
            stack.enter_context(fixes.applied(slug))
        bridge = boot(made)
        for asked in (None, True):
            assert bridge.to_tokens("w5 w6", prepend_bos=asked).tolist() == [want]
            padded = bridge.to_tokens(["w5 w6", "w7"], prepend_bos=asked).tolist()
            assert padded == [want, [*want[:2], 7, PAD]]
        if len(slugs) > 1:
            assert bridge.to_tokens("w5 w6", prepend_bos=False).tolist() == [[5, 6]]
        bridge.tokenizer = tokenizer(template)
        assert bridge.to_tokens("w5 w6").tolist() == [want]


UNCHANGED = {
    "BOS that is not put there": tokenizer(),
    "BOS": tokenizer("<bos> $A"),
    "BOS, EOS behind": tokenizer("<bos> $A <eos>"),
    "EOS behind": tokenizer("$A <eos>"),
    "CLS": tokenizer("<bos> $A <eos>", cls_token="<bos>", sep_token="<eos>"),
    "one token that is no BOS": tokenizer("w40 $A"),
    "BOS, EOS and padding in one": tokenizer(bos_token="<eos>", pad_token=None),
    "padding is EOS": tokenizer("<bos> $A", pad_token="<eos>"),
    "no BOS": tokenizer(bos_token=None),
    "no BOS, a prefix": tokenizer("w40 w41 $A", bos_token=None),
}


def of_real_classes() -> dict[str, Any]:
    """Tokenizers of the classes that models of today have, of a handful of words."""
    from transformers import CohereTokenizer, GPT2Tokenizer, GPTNeoXTokenizer, LlamaTokenizer

    letters = {name: id for id, name in enumerate(["<unk>", "<s>", "</s>", "w", "5", "Ġ", "▁"])}
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    classes = (CohereTokenizer, GPT2Tokenizer, GPTNeoXTokenizer, LlamaTokenizer)
    return {kind.__name__: kind(vocab=letters, merges=[], **special) for kind in classes}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """For each tokenizer, read from a folder and left as it is: upstream's bridge and the fix's."""
    found = {}
    for number, (name, made) in enumerate((UNCHANGED | of_real_classes()).items()):
        folder = tmp_path_factory.mktemp(f"tokenizer{number}")
        made.save_pretrained(folder)
        as_it_is = boot(AutoTokenizer.from_pretrained(folder))
        with fixes.applied(SLUG):
            found[name] = as_it_is, boot(AutoTokenizer.from_pretrained(folder))
    return found


@given(
    texts=st.lists(
        st.lists(st.sampled_from(["w5", "w6", "w7"]), min_size=1, max_size=70).map(" ".join),
        min_size=1,
        max_size=3,
    ),
    asked=st.sampled_from([None, True, False]),
    side=st.sampled_from(["right", "left"]),
)
@settings(max_examples=settings.default.max_examples // 2)
def test_texts_are_read_as_before_where_nothing_was_changed(
    both: dict[str, tuple[Any, Any]], texts: list[str], asked: bool | None, side: str
) -> None:
    for name, (before, after) in both.items():
        said = []
        for bridge in (before, after):
            try:
                said.append(bridge.to_tokens(texts, prepend_bos=asked, padding_side=side).tolist())
            except ValueError as error:  # 4.x refuses to take a BOS away that is not there
                said.append(str(error))
        assert said[0] == said[1], name


def test_what_is_known_of_a_tokenizer_is_as_before_where_nothing_was_changed(
    both: dict[str, tuple[Any, Any]],
) -> None:
    for name, (before, after) in both.items():
        for flag in ("tokenizer_prepends_bos", "tokenizer_appends_eos", "default_prepend_bos"):
            assert getattr(before.cfg, flag) == getattr(after.cfg, flag), (name, flag)
        one, other = before.tokenizer, after.tokenizer
        assert type(one) is type(other), name
        assert one.special_tokens_map == other.special_tokens_map, name
        assert one("w5 w6")["input_ids"] == other("w5 w6")["input_ids"], name
        assert one("w5", "w6")["input_ids"] == other("w5", "w6")["input_ids"], name
        assert getattr(one, "add_bos_token", None) == getattr(other, "add_bos_token", None), name
