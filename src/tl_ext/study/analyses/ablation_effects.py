"""Do latents that fire weakly in two languages do anything, alone or together? Take them out and see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.analysis import effects
from tl_ext.analysis.crosslingual import STRONGEST, sets
from tl_ext.errors import InputError
from tl_ext.study.analyses.crosslingual import latent_table, pairs
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.concepts.concept import Concept
    from tl_ext.report.page import Figure
    from tl_ext.study.session import Session

NAME = "ablation_effects"
WEAK = "weak shared"
RANDOM_SETS = 12  # enough for their mean in a text; the p comes from the relabelled ones
# Each set tested with others needs twice as many for a two-sided p of 0.05: 2 / 40, 2 * 2 / 80.
RELABELLED_SETS = 39


@dataclass(frozen=True)
class _Question:
    """One call of `ablation_effects`: a dictionary, a language, and what is out throughout."""

    dictionary: str
    concept: Concept
    sets: dict[str, list[int]]
    without: tuple[int, ...]

    @property
    def relabelled_sets(self) -> int:
        """Enough for each set to be shown, were it alone in being so; members share a family."""
        tested = sum(len(latents) > 1 for latents in self.sets.values())
        return (RELABELLED_SETS + 1) * max(1, tested) - 1

    @property
    def labels(self) -> dict[str, str]:
        """As tables name it."""
        return {
            "dictionary": self.dictionary,
            "language": self.concept.language,
            "strong": "taken out" if self.without else "in place",
        }


def settings() -> dict[str, object]:
    """What results depend on besides the session."""
    from tl_ext.study.collecting import steering_vectors

    return {
        "random_sets": RANDOM_SETS,
        "relabelled_sets": RELABELLED_SETS,
        "strongest": STRONGEST,
        "least_texts": effects.LEAST_TEXTS,
        "words": steering_vectors.WORDS,
    }


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The effects of sets of latents at the first concept's words, in its first two languages.

    The dictionary is, of the focus's kind, the nearest to it with several weak shared latents.

    Returns:
        `asked`, a JSON list of what was asked, each with its labels, sets and words; `{i}/{column}`,
        the rows of the i-th; `notes`, a JSON list of what could not be asked.
    """
    from tl_ext.steering.effects import ablation_effects
    from tl_ext.study.collecting.steering_vectors import words_between

    notes: list[str] = []
    asked: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for question in _questions(session, needs, notes):
        try:
            words, against = words_between(session, question.concept.language)
            found = ablation_effects(
                session.model,
                session.dictionaries[question.dictionary],
                question.concept,
                question.sets,
                words=words,
                against=against,
                without=question.without,
                random_sets=RANDOM_SETS,
                relabelled_sets=question.relabelled_sets,
                seed=session.plan.seed,
                batch_size=8 * session.batch_size,  # rows are one text each, of a few tokens
                progress=session.bar(f"ablations, {question.concept.language}"),
            )
        except InputError as error:
            notes.append(f"Nothing is taken out in {question.concept.language!r}: {error}")
            continue
        for column, values in found.rows.items():
            tensors[f"{len(asked)}/{column}"] = _stored(str(column), values, question.sets)
        asked.append({"labels": question.labels, "sets": question.sets, "words": found.words})
    return tensors | {
        "asked": text_tensor(json.dumps(asked)),
        "notes": text_tensor(json.dumps(notes)),
    }


def _questions(
    session: Session, needs: Mapping[str, Mapping[str, Tensor]], notes: list[str]
) -> Iterator[_Question]:
    plan = session.plan
    pair = next((pair for pair in pairs(plan) if pair[0].name == plan.names[0]), None)
    if pair is None:
        notes.append(f"{plan.names[0]!r} is said in one language only, so nothing is shared.")
        return
    id, groups = _nearest(needs, plan, pair)
    weak = groups[WEAK]
    if not weak:
        notes.append(
            f"No dictionary of the residual stream has latents that fire weakly on {plan.names[0]!r} in "
            "both languages."
        )
        return
    strong = tuple(sorted({one for group in groups.values() for one in group} - set(weak)))
    said = {(one.name, one.language): one for one in session.concepts}
    for label in pair:
        concept = said[label.name, label.language]
        own = groups.get(f"private {label.language}")
        members = {f"{WEAK} #{one}": [one] for one in weak} if len(weak) > 1 else {}
        given = {WEAK: weak, **({f"private {label.language}": own} if own else {}), **members}
        yield _Question(id, concept, given, ())
        if strong:
            yield _Question(id, concept, {WEAK: weak}, strong)


def _nearest(
    needs: Mapping[str, Mapping[str, Tensor]], plan: Plan, pair: Sequence[ConceptLabel]
) -> tuple[str, dict[str, list[int]]]:
    """The dictionary asked about, and its sets: the focus, or the nearest to it with two weak latents
    or more; where none has two, the nearest with one."""
    focus = plan.by_id[plan.focus]
    groups = {
        one.id: sets(latent_table(needs, plan, one.id, pair))
        for one in sorted(plan.of_kind(focus.kind), key=lambda one: abs(one.layer - focus.layer))
    }
    for least in (2, 1):
        for id, found in groups.items():
            if len(found[WEAK]) >= least:
                return id, found
    return plan.focus, groups[plan.focus]


ROLES = ("set", "matched", "relabelled")


def _stored(column: str, values: pd.Series, sets: Mapping[str, object]) -> Tensor:
    if column == "set":
        values = values.map({name: place for place, name in enumerate(sets)})
    elif column == "role":
        values = values.map({role: place for place, role in enumerate(ROLES)})
    numbers = torch.tensor(values.to_numpy())
    return numbers.float() if numbers.is_floating_point() else numbers.int()


def _rows(tensors: Mapping[str, Tensor], number: int, names: list[str]) -> pd.DataFrame:
    prefix = f"{number}/"
    columns = {
        name.removeprefix(prefix): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    rows = pd.DataFrame(columns)
    return rows.assign(
        set=rows["set"].map(dict(enumerate(names))), role=rows["role"].map(dict(enumerate(ROLES)))
    )


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """What was found, in numbers and in sentences.

    `ablation_effects`, a row per language, condition of the strong latents, set, quantity, measure and
    moment; `ablation_effects_verdicts`, sentences; `ablation_effects_sets`, the latents of each set;
    `ablation_effects_by_text`, each set in each text beside the mean of its matched sets;
    `ablation_effects_random`, the mean effect of every relabelled set.
    """
    mine = tensors[NAME]
    summaries, said, members, texts, random = [], [], [], [], []
    for number, one in enumerate(json.loads(tensor_text(mine["asked"]))):
        labels = one["labels"]
        rows = _rows(mine, number, list(one["sets"]))
        summary = effects.judge(effects.summarise(rows, one["sets"]))
        summaries.append(_labelled(labels | {"words": one["words"]}, summary))
        verdicts = pd.DataFrame({"verdict": effects.verdicts(summary)})
        said.append(_labelled(labels, verdicts))
        members += [
            labels | {"set": name, "latents": ", ".join(map(str, latents))}
            for name, latents in one["sets"].items()
        ]
        texts.append(_labelled(labels, effects.by_text(rows)))
        random.append(_labelled(labels, effects.by_draw(rows)))
    said.append(pd.DataFrame({"verdict": json.loads(tensor_text(mine["notes"]))}))
    return {
        NAME: _joined(summaries),
        f"{NAME}_verdicts": _joined(said),
        f"{NAME}_sets": pd.DataFrame(members),
        f"{NAME}_by_text": _joined(texts),
        f"{NAME}_random": _joined(random),
    }


def _labelled(labels: Mapping[str, object], table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame([labels]).merge(table, how="cross")


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Verdicts, the differences with their intervals, and where the set stands among random ones."""
    from tl_ext.study.drawing import ablation

    return ablation.figures(
        tables[NAME],
        verdicts=tables[f"{NAME}_verdicts"],
        random=tables[f"{NAME}_random"],
        plan=plan,
    )
