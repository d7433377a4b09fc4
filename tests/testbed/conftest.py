"""Sentence pairs made for these tests from a few patterns; none is taken from a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tl_ext.testbed.build import BuildSettings
from tl_ext.testbed.corpus import Pair, Split, read_pairs, split_pairs
from tl_ext.testbed.dictionaries import DictionaryTraining
from tl_ext.testbed.language_model import ModelShape, ModelTraining

SUBJECTS = {
    "The red cat": "Le chat rouge",
    "My small brother": "Mon petit frère",
    "Our old teacher": "Notre vieux maître",
    "This green bird": "Cet oiseau vert",
    "Your tall cousin": "Votre grand cousin",
}
PREDICATES = {
    "sleeps under a tree": "dort sous un arbre",
    "sings every morning": "chante chaque matin",
    "eats two apples": "mange deux pommes",
    "waits behind the door": "attend derrière la porte",
    "dreams of the sea": "rêve de la mer",
    "reads a long letter": "lit une longue lettre",
    "looks at the clouds": "regarde les nuages",
    "walks to the village": "marche vers le village",
}


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pairs file of forty lines."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    lines = [
        f"{subject} {predicate}.\t{sujet} {predicat}."
        for subject, sujet in SUBJECTS.items()
        for predicate, predicat in PREDICATES.items()
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def pairs(pairs_file: Path) -> tuple[Pair, ...]:
    return read_pairs(pairs_file)


@pytest.fixture(scope="session")
def split(pairs: tuple[Pair, ...]) -> Split:
    return split_pairs(pairs, held_out=0.1)


@pytest.fixture(scope="session")
def tiny() -> BuildSettings:
    """Settings with which a whole build takes seconds and learns next to nothing."""
    return BuildSettings(
        held_out=0.1,
        vocabulary_size=400,
        shape=ModelShape(layers=2, width=32, heads=2, context_length=48),
        model=ModelTraining(
            steps=8, rows_per_step=4, warm_up_steps=2, evaluate_every=4, autocast=None
        ),
        dictionaries=DictionaryTraining(
            expansion=2,
            active_latents=4,
            active_latents_at={},
            captured_tokens=600,
            steps=12,
            tokens_per_step=64,
            warm_up_steps=2,
            dead_after_steps=5,
        ),
    )
