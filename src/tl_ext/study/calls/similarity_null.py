"""The null of similarity as a call for a notebook: are these latents alike beyond those of any word?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis.similarity_null import counts, verdict
from tl_ext.concepts.concept import Concept
from tl_ext.concepts.matched import built_in
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import InputError, nearest
from tl_ext.models.tokens import listed
from tl_ext.report.marks import Panels
from tl_ext.study.analyses import similarity_null as analysis
from tl_ext.study.calls.given import concepts_given, dictionaries_given
from tl_ext.study.plan import Plan
from tl_ext.study.session import session_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class SimilarityNull:
    """Whether the strongest latents of concepts are more alike than those of other words.

    Attributes:
        tables: By name, see [`tables`][tl_ext.study.tabulating.group_tests.tables].
        plan: What was compared.
    """

    tables: Mapping[str, pd.DataFrame]
    plan: Plan

    @property
    def table(self) -> pd.DataFrame:
        """A row per dictionary, concept and measure: `observed`, its interval over texts (`low`, `high`),
        `null_median`, `excess` beyond it with its interval, `below` of `words` null words, `p`,
        `smallest_p`, `adjusted` for being many, `decision`; and `random_p`, against random latents with
        the same firing rates."""
        return self.tables[analysis.NAME]

    @property
    def pooled(self) -> pd.DataFrame:
        """The same over the dictionaries of a kind of hook point: one test a concept and measure."""
        return self.tables["similarity_null_pooled"]

    @property
    def words(self) -> pd.DataFrame:
        """A row per concept: how frequent its word and its null words are to the model."""
        return self.tables["similarity_null_words"]

    @property
    def verdicts(self) -> list[str]:
        """What the pooled tests allow to be said, a sentence each."""
        rows = self.pooled.to_dict("records")
        return [verdict({str(k): v for k, v in row.items()}, str(row["kind"])) for row in rows]

    def figure(
        self, concept: str | None = None, language: str | None = None, dictionary: str | None = None
    ) -> Panels:
        """The heatmap of a language's groups, and the null of each measure beside it.

        Args:
            concept: Its name; None: the first.
            language: Its language; None: the first.
            dictionary: An id; None: the one nearest to 7/12 of the depth.

        Raises:
            InputError: No such concept or dictionary, or no null words to draw.
        """
        one = self.plan.concept(concept or self.plan.names[0], language or self.plan.languages[0])
        id = dictionary or self.plan.focus
        if id not in self.plan.by_id:
            raise InputError(
                f"There is no dictionary {id!r} here.{nearest(id, self.plan.by_id)} There are: "
                f"{', '.join(self.plan.by_id)}."
            )
        drawn = analysis.beside(self.tables, self.plan, one, id)
        if drawn is None:
            raise InputError(
                f"There is no null to draw for {one.label}: no matched word shares a sentence with it, "
                "or nothing fired. Pass matched=, words that fit its sentences."
            )
        return drawn

    def __repr__(self) -> str:
        said = "\n".join(counts(self.table))
        columns = ["concept", "language", "kind", "measure", "observed", "null_median", "p"]
        shown = self.pooled[[*columns, "adjusted", "decision"]]
        return f"<SimilarityNull in {len(self.plan.dictionaries)} dictionaries>\n{said}\n{shown}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_() + analysis.tests_table(self.pooled)._repr_html_()


def similarity_null(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    concepts: Concept | Sequence[Concept],
    background: Sequence[str],
    matched: Sequence[Concept] | None = None,
    *,
    top: int = 3,
    over_tokens: str = "sum",
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> SimilarityNull:
    """Compare the strongest latents of concepts with those of other words in the same sentences.

    Latents chosen because they fire at one word are alike even with random decoders, so random latents
    are no null for them. Here the choice is repeated at words that say something else and are about as
    frequent: chosen on every second sentence, compared by direction, and by activation on every second
    background text.

    Args:
        model: A hooked model with an unembedding.
        dictionaries: One dictionary or several.
        concepts: One concept or several.
        background: Ordinary text, enough of it that latents fire.
        matched: Words to compare with, each as a concept of its own in the same sentences: at least 19
            a language for a p of 0.05, better 59. None: built-in words where they fit, see
            [`built_in`][tl_ext.concepts.matched.built_in]; where there are none, nothing is decided.
        top: How many latents make a group.
        over_tokens: How the tokens of a word are joined: "sum", "mean" or "max".
        seed: Of resamples and random groups.
        batch_size: Texts in a forward pass.
        progress: Show bars.

    Raises:
        InputError: No concepts or background, or `top` below 2.
        DictionaryError: A dictionary of another width.

    Example:
        ```python
        happy = emotions.concepts(["happy"], ["en"])
        similarity_null(model, dictionaries, happy, texts).verdicts
        ```
    """
    if top < 2:
        raise InputError(f"top is {top}; a group of latents has at least 2.")
    several, said = dictionaries_given(dictionaries), concepts_given(concepts)
    session = session_of(
        model,
        several,
        said,
        listed(background),
        matched=built_in(said) if matched is None else list(matched),
        top=top,
        over_tokens=over_tokens,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    tensors = {analysis.NAME: analysis.collect(session, {})}
    return SimilarityNull(analysis.tabulate(tensors, session.plan), session.plan)
