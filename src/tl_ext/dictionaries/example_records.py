"""What `latent_examples` found: contexts and statistics of latents, by dictionary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.dictionaries import example_files as files
from tl_ext.dictionaries.dictionary import UnknownDictionaryError
from tl_ext.dictionaries.logit_lens import LensTokens
from tl_ext.dictionaries.sketch import quantiles
from tl_ext.errors import InputError
from tl_ext.models.token_bytes import strings

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that tables hold."""


@dataclass(frozen=True, eq=False)
class TopContext:
    """A context in which a latent is high.

    Attributes:
        text: The number of its text, counted from 0 as they were read.
        token: Which token of that text the peak is.
        peak: Which of `tokens` the peak is.
        tokens: The tokens around it, as text.
        activations: The latent at each; NaN where a token is no content, as the first position is.
    """

    text: int
    token: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def activation(self) -> float:
        """The latent at the peak."""
        return self.activations[self.peak]

    def __repr__(self) -> str:
        shown = [*self.tokens]
        shown[self.peak] = f"[{shown[self.peak]}]"
        return f"<{self.activation:.4g} in text {self.text}: {''.join(shown)!r}>"


@dataclass(frozen=True, eq=False, repr=False)
class DictionaryExamples:
    """One dictionary's latents on a stream of texts; rows are latents, in the order of `latents`.

    Attributes:
        id: The dictionary.
        hook_point: What it reads.
        neuronpedia: Its name on Neuronpedia, or the empty string.
        d_latent: How many latents it has.
        latents: Which of them were looked at.
        tokens: How many tokens were read; prefix and first positions are not among them.
        usual_norm: Median length of the activations it reads, to within 0.1 %.
        tensors: What was counted and kept, by the names of
            [`LatentTally`][tl_ext.dictionaries.tally.LatentTally].
        before: How many tokens before a peak are kept with it.
        lens: The tokens at both ends of each latent's logit lens.
        vocabulary: The bytes of every token that stands in it.
    """

    id: str
    hook_point: str
    neuronpedia: str
    d_latent: int
    latents: Int[Tensor, " latent"]
    tokens: int
    usual_norm: float
    tensors: Mapping[str, Tensor]
    before: int
    lens: LensTokens
    vocabulary: Mapping[int, bytes]

    @property
    def firing_rate(self) -> Float[Tensor, " latent"]:
        """Share of tokens on which each latent is above 0."""
        return (self.tensors["fired"].double() / self.tokens).float()

    @property
    def largest(self) -> Float[Tensor, " latent"]:
        """Each latent's largest activation; 0 for one that never fired."""
        return self.tensors["largest"]

    @property
    def mean(self) -> Float[Tensor, " latent"]:
        """Each latent's mean activation over all tokens."""
        return (self.tensors["total"] / self.tokens).float()

    def quantiles(self, shares: Sequence[float] = QUANTILES) -> Float[Tensor, "latent share"]:
        """Quantiles of each latent's activation when it fires, less than 4.5 % off.

        See [`sketch`][tl_ext.dictionaries.sketch] for the ends of that range.

        Args:
            shares: Which quantiles, each in [0, 1].
        """
        found = quantiles(self.tensors["histogram"], shares)
        return torch.minimum(found, torch.where(self.largest > 0, self.largest, torch.nan)[:, None])

    def row(self, latent: int) -> int:
        """The row of a latent.

        Raises:
            InputError: It was not looked at.
        """
        place = self._rows.get(int(latent))
        if place is None:
            some = self.latents[:8].tolist()
            more = "" if len(self.latents) <= 8 else f" and {len(self.latents) - 8} more"
            raise InputError(
                f"Latent {latent} of {self.id} was not looked at; there are "
                f"{', '.join(map(str, some))}{more}."
            )
        return place

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {latent: row for row, latent in enumerate(self.latents.tolist())}

    def contexts(self, latent: int) -> list[TopContext]:
        """The contexts in which a latent is highest, the highest first.

        Raises:
            InputError: The latent was not looked at.
        """
        row, found = self.row(latent), []
        for rank, text in enumerate(self.tensors["text"][row].tolist()):
            if text < 0:
                break
            ids = self.tensors["ids"][row, rank]
            there = ids >= 0
            found.append(
                TopContext(
                    text=text,
                    token=int(self.tensors["token"][row, rank]),
                    peak=int(there[: self.before].sum()),
                    tokens=tuple(strings(ids[there].tolist(), self.vocabulary)),
                    activations=tuple(self.tensors["activations"][row, rank][there].tolist()),
                )
            )
        return found

    def raised(self, latent: int) -> list[tuple[str, float]]:
        """The tokens at the top of the latent's logit lens, with their values; see
        [`logit_lens`][tl_ext.dictionaries.logit_lens]."""
        return self._ends(self.lens.top, self.lens.top_values, latent)

    def lowered(self, latent: int) -> list[tuple[str, float]]:
        """The tokens at the bottom of the latent's logit lens, the lowest first."""
        return self._ends(self.lens.bottom, self.lens.bottom_values, latent)

    def _ends(self, ids: Tensor, values: Tensor, latent: int) -> list[tuple[str, float]]:
        row = self.row(latent)
        return [
            (self.vocabulary[id].decode("utf-8", "replace"), value)
            for id, value in zip(ids[row].tolist(), values[row].tolist(), strict=True)
            if id >= 0
        ]

    def table(self) -> pd.DataFrame:
        """A row per latent: `dictionary`, `hook_point`, `latent`, `fired` (tokens), `firing_rate`,
        `mean` (over all tokens), `mean_fired` (over those it fires on), `largest`, quantiles of the
        activation when it fires (`q05` to `q95`), and the tokens its logit lens raises and lowers."""
        import pandas as pd

        fired = self.tensors["fired"]
        table = {
            "dictionary": self.id,
            "hook_point": self.hook_point,
            "latent": self.latents.numpy(),
            "fired": fired.numpy(),
            "firing_rate": self.firing_rate.numpy(),
            "mean": self.mean.numpy(),
            "mean_fired": (self.tensors["total"] / fired).float().numpy(),
            "largest": self.largest.numpy(),
        }
        for share, column in zip(QUANTILES, self.quantiles().T, strict=True):
            table[f"q{round(100 * share):02d}"] = column.numpy()
        for name, ids in (("raised", self.lens.top), ("lowered", self.lens.bottom)):
            table[name] = [
                [self.vocabulary[id].decode("utf-8", "replace") for id in row if id >= 0]
                for row in ids.tolist()
            ]
        return pd.DataFrame(table)

    def __repr__(self) -> str:
        fired = int((self.tensors["fired"] > 0).sum())
        return (
            f"<DictionaryExamples of {self.id}: {len(self.latents)} latents, {fired} fired "
            f"on {self.tokens} tokens>"
        )


class LatentExamples(Mapping[str, DictionaryExamples]):
    """The texts on which latents are highest, and what they do on text at large, by dictionary id.

    Example:
        ```python
        found = latent_examples(model, dictionaries, Path("corpus.txt"), out="examples")
        found["blocks.3.hook_resid_pre"].contexts(17)
        LatentExamples.load("examples")
        ```
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Give names to tensors, all of which are kept in `tensors`.

        Args:
            tensors: Those of another `LatentExamples`.
        """
        self.tensors = dict(tensors)
        self._about = files.about(tensors)
        vocabulary = files.words(tensors)
        self._by_id = {
            id: DictionaryExamples(
                id=id,
                hook_point=label["hook_point"],
                neuronpedia=label["neuronpedia"],
                d_latent=label["d_latent"],
                latents=tensors[f"{id}/latents"],
                tokens=self.tokens,
                usual_norm=float(tensors[f"{id}/usual_norm"]),
                tensors={name: tensors[f"{id}/{name}"] for name in files.COUNTED},
                before=self.settings["before"],
                lens=LensTokens(*(tensors[f"{id}/lens/{name}"] for name in files.LENS)),
                vocabulary=vocabulary,
            )
            for id, label in self._about["dictionaries"].items()
        }

    @property
    def tokens(self) -> int:
        """How many tokens were read; prefix and first positions are not among them."""
        return int(self.tensors["tokens"])

    @property
    def texts(self) -> int:
        """How many texts were read."""
        return int(self.tensors["position/texts"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """`n`, `before`, `after`, `max_tokens` and `long_texts`, as they were given."""
        return dict(self._about["settings"])

    def __getitem__(self, id: str) -> DictionaryExamples:
        if id not in self._by_id:
            raise UnknownDictionaryError(
                f"There are no examples of {id!r}; there are those of {', '.join(self._by_id)}."
            )
        return self._by_id[id]

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def table(self) -> pd.DataFrame:
        """The tables of all dictionaries under each other; see `DictionaryExamples.table`."""
        import pandas as pd

        return pd.concat([one.table() for one in self.values()], ignore_index=True)

    def save(self, folder: str | Path) -> Path:
        """Write `contexts.parquet`, `statistics.parquet` and `tensors.safetensors`.

        Args:
            folder: Made where it is missing; files of these names in it are replaced.

        Returns:
            The folder.

        Raises:
            OutputError: It cannot be written to.
        """
        return files.write(Path(folder), self.tensors, self.values(), {})

    @classmethod
    def load(cls, folder: str | Path) -> LatentExamples:
        """Read what `latent_examples` or `save` wrote; nothing in it is run.

        Raises:
            InputError: The folder holds no finished examples.
        """
        return cls(files.read(Path(folder)))

    def __repr__(self) -> str:
        return (
            f"<LatentExamples of {len(self)} dictionaries on {self.texts} texts, {self.tokens} tokens\n"
            + "\n".join(f"  {one!r}" for one in self.values())
            + ">"
        )
