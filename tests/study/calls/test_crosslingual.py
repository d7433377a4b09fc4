"""One concept in several languages, as a call."""

from __future__ import annotations

import pytest
from tests.dictionaries.test_reading import dictionary
from tests.study.calls.test_features import concept
from tests.tiny import tiny_model

from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.dictionaries.reading import background_statistics, word_latents
from tl_ext.errors import InputError
from tl_ext.study.calls.crosslingual import crosslingual_features

TEXTS = ["w5 w6 w7 w20", "w8 w6", "w30 w31 w32"]
MODEL = tiny_model("gpt2")
READ = Dictionaries(
    [dictionary("pre", "blocks.1.hook_resid_pre"), dictionary("z", "blocks.0.attn.hook_z")]
)
BACKGROUND = background_statistics(MODEL, READ, TEXTS)


def in_language(word: str, language: str) -> Concept:
    one = concept("a", word)
    return Concept("a", language, one.examples, one.controls)


SAID = [in_language("w6", "en"), in_language("w11", "fr")]


def test_what_the_table_holds_is_read_at_each_languages_words() -> None:
    found = crosslingual_features(MODEL, READ, SAID, background=BACKGROUND)
    assert set(found.shares["dictionary"]) == {"pre", "z"}
    for one in SAID:
        latents = word_latents(MODEL, READ, one, over_tokens="mean")
        for id in READ:
            mine = found.table[found.table["dictionary"] == id]
            assert mine[f"activation_{one.language}"].to_numpy() == pytest.approx(
                latents[id].mean(0)[mine["latent"].tolist()].numpy(), rel=1e-4
            )
    belong = found.table.groupby("dictionary")[["belongs_en", "belongs_fr"]]
    both = belong.apply(lambda rows: int(rows.all(axis=1).sum()))
    assert found.shares.set_index("dictionary")["both"].to_dict() == both.to_dict()
    assert set(found.sets("pre")) == {"weak shared", "private en", "private fr"}
    assert set(found.shown()["kind"]) & {"not shown", "frame"} == set()
    assert "..." not in repr(found) and "either" in repr(found)
    assert "img" in found._repr_html_() or "svg" in found._repr_html_()


def test_a_word_against_itself_is_shared_wherever_it_belongs() -> None:
    same = [in_language("w6", "en"), in_language("w6", "fr")]
    shares = crosslingual_features(MODEL, READ["pre"], same, background=BACKGROUND).shares
    assert shares["both"].tolist() == shares["either"].tolist() != [0]


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(InputError, match="two languages or more"):
        crosslingual_features(MODEL, READ, SAID[:1], background=BACKGROUND)
    with pytest.raises(InputError, match="each once"):
        crosslingual_features(MODEL, READ, [SAID[0], SAID[0]], background=BACKGROUND)
    with pytest.raises(InputError, match="several languages"):
        crosslingual_features(MODEL, READ, SAID[0], background=BACKGROUND)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A dictionary is expected"):
        crosslingual_features(MODEL, "pre", SAID, background=BACKGROUND)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no control words"):
        bare = [Concept("a", one.language, one.examples) for one in SAID]
        crosslingual_features(MODEL, READ, bare, background=BACKGROUND)
    with pytest.raises(InputError, match="background statistics for z"):
        crosslingual_features(MODEL, READ, SAID, background={"pre": BACKGROUND["pre"]})
    with pytest.raises(InputError, match="these were read"):
        crosslingual_features(MODEL, READ, SAID, background=BACKGROUND).sets("other")
