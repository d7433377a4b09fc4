"""What was generated: texts, tokens and how likely the models found them."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Generations:
    """What a model wrote, and how likely it found it with and without the edits.

    One row is one sample; the samples of a prompt follow one another. All tensors are on the CPU.

    Attributes:
        prompts: The prompts, as given.
        prompt: For each row the index of its prompt.
        sample: For each row its number among the samples of that prompt.
        texts: For each row the continuation alone, without special tokens.
        ids: Prompt (padded on the left, prefix included) and continuation.
        mask: True where there is a token. A continuation ends with its stop token.
        prompt_width: How many columns of `ids` belong to prompts.
        steered_log_probs: Natural logarithm of the probability of each new token under the edited
            model, at temperature 1 and over the whole vocabulary; NaN where there is none.
        unsteered_log_probs: The same tokens under the model without edits; None where it was not
            asked.
        settings: What they were made with, fit for JSON: edits, seed, temperature, and so on.
    """

    prompts: tuple[str, ...]
    prompt: Int[Tensor, " row"]
    sample: Int[Tensor, " row"]
    texts: tuple[str, ...]
    ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row token"]
    prompt_width: int
    steered_log_probs: Float[Tensor, "row new"]
    unsteered_log_probs: Float[Tensor, "row new"] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def new_ids(self) -> Int[Tensor, "row new"]:
        """The continuations' token ids."""
        return self.ids[:, self.prompt_width :]

    @property
    def new_mask(self) -> Bool[Tensor, "row new"]:
        """True where a continuation has a token."""
        return self.mask[:, self.prompt_width :]

    def __len__(self) -> int:
        return len(self.texts)

    def to_frame(self) -> pd.DataFrame:
        """One line a row: prompt, sample, text, number of new tokens, mean log-probabilities."""
        import pandas as pd

        prompt = self.prompt.tolist()
        columns: dict[str, Any] = {
            "prompt_index": prompt,
            "sample": self.sample.tolist(),
            "prompt": [self.prompts[index] for index in prompt],
            "text": list(self.texts),
            "tokens": self.new_mask.sum(-1).tolist(),
            "steered_log_prob": self.steered_log_probs.nanmean(-1).tolist(),
        }
        if self.unsteered_log_probs is not None:
            columns["unsteered_log_prob"] = self.unsteered_log_probs.nanmean(-1).tolist()
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        edits = ", ".join(self.settings.get("edits", ())) or "no edits"
        shown = [
            f"  {self.prompts[prompt]!r} -> {text!r}"
            for prompt, text in list(zip(self.prompt.tolist(), self.texts, strict=True))[:4]
        ]
        more = [f"  and {len(self) - 4} more"] if len(self) > 4 else []
        head = f"<Generations: {len(self)} of {len(self.prompts)} prompts; {edits}>"
        return "\n".join([head, *shown, *more])

    def _repr_html_(self) -> str:
        """A table for notebooks; prompts and texts are escaped."""
        edits = ", ".join(self.settings.get("edits", ())) or "no edits"
        rows = "".join(
            f"<tr><td>{html.escape(self.prompts[prompt])}</td><td>{html.escape(text)}</td></tr>"
            for prompt, text in zip(self.prompt.tolist(), self.texts, strict=True)
        )
        return (
            f"<table><caption>{html.escape(edits)}</caption>"
            f"<thead><tr><th>prompt</th><th>continuation</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )
