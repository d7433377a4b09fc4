"""Taking sets of latents out at a word: against plain edits, by hand; properties; bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.interventions.toy import LATENTS, toy_dictionary
from tests.tiny import tiny_model

from tl_ext.concepts.concept import Example
from tl_ext.errors import HookPointError, InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Ablate
from tl_ext.models.tokens import batch
from tl_ext.steering.contributions import word_contributions
from tl_ext.steering.effects import AblationEffects, ablation_effects
from tl_ext.steering.outputs import MEASURES, WordLists
from tl_ext.steering.words import log_odds

EXAMPLES = [
    Example("w5 w6 w7 w8 w9", "w7"),
    Example("w10 w11 w7", "w7"),
    Example("w7 w12 w7 w13 w14 w15", "w7"),
    Example("w20 w7 w21", "w7"),
]
WORDS, AGAINST = [" w30 w31 w32", " w33"], [" w34 w35", " w30 w36"]
SETS = {"some": [3, 8, 21, 30], "one": [8], "other": [5, 6]}


def effects(family: str = "gpt2", **changes: object) -> AblationEffects:
    given = {"words": WORDS, "against": AGAINST, "random_sets": 3, "relabelled_sets": 5}
    dictionary = changes.pop("dictionary", None) or toy_dictionary()
    sets = changes.pop("sets", SETS)
    model = changes.pop("model", None) or tiny_model(family)
    return ablation_effects(model, dictionary, EXAMPLES, sets, **{**given, **changes})  # type: ignore[arg-type]


def by_hand(
    family: str, example: Example, latents: list[int], without: tuple[int, ...] = ()
) -> dict[str, float]:
    """Through `Ablate` and full forward passes, one text at a time."""
    model, dictionary = tiny_model(family), toy_dictionary()

    def out(more: list[int]) -> list[Ablate]:
        both = sorted({*more, *without})
        return [Ablate(dictionary, both)] if both else []

    def next_tokens(edits: list[Ablate]) -> torch.Tensor:
        tokens = batch(model, [example.text])
        where = _at_words(model, tokens, example)
        with torch.no_grad(), applied(model, edits, where):
            return model(tokens.ids, **tokens.forward_arguments())[0].log_softmax(-1)

    def odds(edits: list[Ablate], text: str) -> float:
        return float(_log_odds_of(model, example, text, edits))

    words = example.text.split()
    last = max(place for place, word in enumerate(words) if word == example.word)
    first = len(batch(model, [example.text]).ids[0]) - len(words) + last
    before, now = next_tokens(out([])), next_tokens(out(latents))
    kl = (before.exp() * (before - now)).sum(-1)[first:]
    at, end = " ".join(words[: last + 1]), example.text
    return {
        "kl_at": float(kl[0]),
        "kl_after": float(kl[1:].mean()) if len(kl) > 1 else float("nan"),
        "odds_at": odds(out(latents), at) - odds(out([]), at),
        "odds_after": odds(out(latents), end) - odds(out([]), end) if len(kl) > 1 else float("nan"),
    }


def _at_words(model: object, tokens: object, example: Example) -> torch.Tensor:
    words = example.text.split()
    where = torch.zeros_like(tokens.mask)  # type: ignore[attr-defined]
    for place, word in enumerate(words):
        where[0, int(tokens.offset[0]) + place] = word == example.word  # type: ignore[attr-defined]
    return where & tokens.content  # type: ignore[attr-defined]


def _log_odds_of(model: object, example: Example, text: str, edits: list[Ablate]) -> float:
    """Every word of the lists appended, the edit acting at the example's word only."""
    found = []
    for word in (*WORDS, *AGAINST):
        tokens = batch(model, [text + word])  # type: ignore[arg-type]
        length = len(tokens.ids[0]) - len(word.split())
        where = _at_words(model, tokens, Example(text + word, example.word))
        with torch.no_grad(), applied(model, edits, where):  # type: ignore[arg-type]
            log_probs = model(tokens.ids, **tokens.forward_arguments())[0].log_softmax(-1)  # type: ignore[operator]
        found.append(
            sum(
                float(log_probs[place - 1, tokens.ids[0, place]])
                for place in range(length, len(tokens.ids[0]))
            )
        )
    several = torch.tensor(found)
    return float(several[:2].logsumexp(0) - several[2:].logsumexp(0))


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
@pytest.mark.parametrize("without", [(), (2, 11, 14)])
def test_effects_are_those_of_plain_ablation(family: str, without: tuple[int, ...]) -> None:
    rows = effects(family, without=without).rows
    own = rows[(rows["role"] == "set") & (rows["set"] == "some")].set_index("text")
    for text, example in enumerate(EXAMPLES):
        expected = by_hand(family, example, SETS["some"], without)
        found = own.loc[text, list(MEASURES)].to_dict()
        assert found == pytest.approx(expected, abs=2e-4, nan_ok=True)


def test_singles_add_up() -> None:
    rows = effects().rows
    some = rows[(rows["role"] == "set") & (rows["set"] == "some")].set_index("text")
    for text, example in enumerate(EXAMPLES):
        total = sum(by_hand("gpt2", example, [latent])["kl_at"] for latent in SETS["some"])
        assert some.loc[text, "kl_at_singly"] == pytest.approx(total, abs=2e-4)
    one = rows[rows["set"] == "one"]
    pd.testing.assert_series_equal(one["kl_at"], one["kl_at_singly"], check_names=False)


def test_random_sets_come_from_the_same_positions() -> None:
    found = effects()
    read = word_contributions(tiny_model("gpt2"), toy_dictionary(), EXAMPLES)
    rows = found.rows
    own = rows[rows["role"] == "set"].set_index(["set", "text"])
    matched = rows[rows["role"] == "matched"]
    assert len(matched) and not matched["own"].any()
    for row in matched.itertuples():
        assert row.latents == own.loc[(row.set, row.text), "latents"]
        assert row.norm == pytest.approx(own.loc[(row.set, row.text), "norm"], rel=0.1)
    for text, one in enumerate(read):
        assert own.loc[("some", text), "latents"] == one.held(SETS["some"]).sum()


@settings(max_examples=4)
@given(batch_size=st.integers(1, 40))
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    pd.testing.assert_frame_equal(
        effects(batch_size=batch_size).rows, effects().rows, check_exact=False, atol=1e-5
    )


def test_a_model_that_keeps_nothing_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = effects().rows
    monkeypatch.setattr(type(tiny_model("gpt2").adapter), "supports_kv_cache", False, raising=False)
    pd.testing.assert_frame_equal(effects().rows, kept, check_exact=False, atol=1e-5)


def test_the_order_of_latents_does_not_matter() -> None:
    turned = {name: latents[::-1] for name, latents in SETS.items()}
    pd.testing.assert_frame_equal(effects(sets=turned).rows, effects().rows)


def test_kl_is_not_negative_and_silent_sets_change_nothing() -> None:
    silent = toy_dictionary()
    never = int((silent.encode(torch.randn(4000, 24) * 3) > 0).sum(0).argmin())
    rows = effects(sets={"some": SETS["some"], "rare": [never]}).rows
    assert (rows["kl_at"] >= 0).all() and (rows["kl_after"].dropna() >= 0).all()
    nothing = rows[rows["latents"] == 0]
    assert not nothing[["kl_at", "odds_at", "norm", "kl_at_singly"]].to_numpy().any()


def test_after_a_word_that_ends_its_text_there_is_nothing() -> None:
    rows = effects().rows
    ends = rows["text"] == 1
    assert rows.loc[ends, ["kl_after", "odds_after"]].isna().all(axis=None)
    assert rows.loc[~ends, ["kl_after", "odds_after"]].notna().all(axis=None)


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
def test_contributions_are_differences_of_reconstructions(normalisation: str) -> None:
    dictionary = toy_dictionary(normalisation=normalisation)
    model = tiny_model("gpt2")
    from tl_ext.activations.capture import capture

    for place, one in enumerate(word_contributions(model, dictionary, EXAMPLES)):
        rows = capture(model, [EXAMPLES[place].text], dictionary.hook_in).activations
        tokens = batch(model, [EXAMPLES[place].text])
        x = rows[dictionary.hook_in][(one.columns - tokens.offset[0]).cpu()]
        latents, statistics = dictionary.encode(x), dictionary.statistics(x)
        chosen = np.arange(len(one.latents)) % 3 == 0
        edited = latents.clone()
        edited[:, one.latents[chosen]] = 0
        shift = dictionary.decode(latents, statistics) - dictionary.decode(edited, statistics)
        torch.testing.assert_close(one.summed(chosen[None])[0], shift, atol=1e-4, rtol=1e-4)
        assert one.products == pytest.approx(one.products.T)


def test_log_odds_agree_with_steering_s() -> None:
    model = tiny_model("gpt2")
    found = effects(sets={"one": [8]}, against=[" w40"], words=[" w30 w31"])
    plain = log_odds(model, ["w5 w6 w7"], [" w30 w31"], [" w40"])
    lists = WordLists.after(model.tokenizer, "w5 w6 w7", [" w30 w31"], [" w40"])
    assert lists.branches == {(30,): [0]}
    assert found.words == "w30 w31 over w40"
    assert plain.isfinite().all()


def test_without_other_words_the_odds_are_against_anything_else() -> None:
    lists = WordLists(((4,), (5, 6)), ())
    log_probs = torch.tensor([[0.2, 0.1]]).log()
    assert float(lists.odds(log_probs)) == pytest.approx(np.log(0.3 / 0.7), abs=1e-5)
    assert effects(against=()).rows["odds_at"].notna().all()


def test_it_describes_itself() -> None:
    found = effects()
    assert repr(found) == "<AblationEffects in toy on 4 texts: some (4), one (1), other (2)>"
    assert set(found.summary["decision"]) == {"cannot decide"}
    assert "<table" in found._repr_html_()
    assert len(found.verdicts()) == 8 + 8 + 4


def test_bad_input_says_what_to_do() -> None:
    for changes, told in (
        ({"sets": {}}, "0 sets"),
        ({"sets": {"none": []}}, "without latents: \\['none'\\]"),
        ({"sets": {"a": [LATENTS]}}, "counted from 0"),
        ({"sets": {"a": [3]}, "without": [3]}, "go twice"),
        ({"words": " w30"}, "one string"),
        ({"words": []}, "No words"),
        ({"against": WORDS[:1]}, "both lists"),
        ({"words": ["w30"]}, "Begin it with a space"),
        ({"relabelled_sets": 0}, "1 or more"),
    ):
        with pytest.raises(InputError, match=told):
            effects(**changes)
    point = "blocks.1.hook_resid_mid"
    with pytest.raises(HookPointError, match="cannot be edited"):
        effects(dictionary=toy_dictionary(hook_in=point, hook_out=point))
