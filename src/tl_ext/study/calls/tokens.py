"""How probable the model finds the tokens of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from tl_ext.analysis.tokens import probability_table
from tl_ext.models.predicting import check_predicts
from tl_ext.models.tokens import batch, token_strings
from tl_ext.report.marks import TokenText

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class TokenProbabilities:
    """How probable a text's tokens are to the model.

    Attributes:
        text: The text.
        table: A row per token: `token`, `id`, `string`, `probability`, `rank`.
    """

    text: str
    table: pd.DataFrame

    def figure(self) -> TokenText:
        """The text, coloured by probability."""
        return TokenText(
            title=self.text, tokens=self.table["string"], values=self.table["probability"]
        )

    def __repr__(self) -> str:
        return f"<TokenProbabilities of {self.text!r}>\n{self.table}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def token_probabilities(model: TransformerBridge, text: str) -> TokenProbabilities:
    """The probability of each token of a text given those before it.

    Args:
        model: A hooked model.
        text: One text that fits its context.

    Raises:
        InputError: The text is empty for a model without a prefix, or too long; the model predicts no
            next token.
    """
    check_predicts(model, "probability of a text's tokens")
    tokens = batch(model, [text])
    with torch.no_grad():
        logits = model(tokens.ids, **tokens.forward_arguments())[0].float().cpu()
    ids = tokens.ids[0].cpu()
    strings = token_strings(model.tokenizer, ids.tolist())
    return TokenProbabilities(
        text, probability_table(logits, ids, strings, skip=int(tokens.offset[0]))
    )
