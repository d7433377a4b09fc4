"""The weights as shipped. Nothing here knows a figure that another training would change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tl_ext.dictionaries.loading import load_dictionaries
from tl_ext.models.loading import Processing, load_model
from tl_ext.testbed import VERSION, folder
from tl_ext.testbed.background import sample_background
from tl_ext.testbed.card import file_hashes
from tl_ext.testbed.dictionaries import hook_points
from tl_ext.testbed.measures import translations

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def weights() -> Path:
    return folder()


@pytest.fixture(scope="module")
def card(weights: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((weights / "card.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def model() -> TransformerBridge:
    return load_model("testbed")


def test_everything_together_is_under_25_megabytes(weights: Path) -> None:
    sizes = [file.stat().st_size for file in weights.rglob("*") if file.is_file()]
    assert sum(sizes) < 25 * MEGABYTE


def test_the_card_names_every_file_with_its_hash(weights: Path, card: dict[str, Any]) -> None:
    assert card["version"] == VERSION
    assert card["files"] == file_hashes(weights)
    readable = (weights / "CARD.md").read_text(encoding="utf-8")
    for file in card["files"].values():
        assert file["sha256"] in readable


def test_the_card_gives_credit_and_says_what_was_missed(
    weights: Path, card: dict[str, Any]
) -> None:
    readable = (weights / "CARD.md").read_text(encoding="utf-8")
    for text in (card["attribution"], readable):
        assert "tatoeba.org" in text and "manythings.org/anki" in text and "CC-BY 2.0 FR" in text
    for sentence in card["missed"]:
        assert sentence in readable


def test_weights_are_stored_as_float16(weights: Path) -> None:
    files = list(weights.rglob("*.safetensors"))
    assert len(files) == 14
    for file in files:
        with safe_open(file, framework="pt") as stored:
            types = {stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
        assert types == {"F16"}, file


def test_transformers_reads_the_folder_and_computes_in_float32(weights: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(weights)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    assert model.dtype == torch.float32
    assert model.config.model_type == "gpt2"
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id


def test_there_is_a_dictionary_at_every_hook_point(
    model: TransformerBridge, card: dict[str, Any]
) -> None:
    dictionaries = load_dictionaries("testbed://")
    points = hook_points(card["model"]["layers"])
    assert {one.hook_in for one in dictionaries.values()} == set(points)
    for one in dictionaries.values():
        assert one.processing == Processing.RAW
        assert (one.d_in, one.d_latent) == (192, 1536)


@pytest.mark.saelens
def test_saelens_reads_every_dictionary(weights: Path, card: dict[str, Any]) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    for point in hook_points(card["model"]["layers"]):
        read = sae_lens.SAE.load_from_disk(weights / "dictionaries" / point)
        metadata = read.cfg.metadata
        assert (metadata.hook_name, metadata.model_name) == (point, "testbed")
        assert metadata.context_size == card["model"]["context_length"]
        assert metadata.prepend_bos is True


def test_french_words_are_several_tokens(model: TransformerBridge) -> None:
    def count(word: str) -> int:
        return len(model.tokenizer(word)["input_ids"])

    assert count(" happy") == count(" sad") == 1
    assert min(map(count, (" heureux", " heureuse", " triste", " excité"))) >= 2


def test_it_translates_a_little(model: TransformerBridge) -> None:
    made = translations(model, ["I am happy.", "C'est un chien."])
    assert "heureu" in made[0]
    assert "dog" in made[1]


def test_background_text_is_in_both_languages(model: TransformerBridge) -> None:
    words = set(" ".join(sample_background(model, 60)).casefold().split())
    assert {"the", "you"} & words and {"je", "vous", "est"} & words
