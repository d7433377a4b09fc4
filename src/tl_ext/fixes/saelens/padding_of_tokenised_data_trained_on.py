"""SAELens: the attention mask of a tokenised data set is ignored, and padding is trained on.

A store reads the column of ids alone. Rows that were padded to one length are trained on whole, and
where padding stands on the left, texts attend to it and sit at other positions. `exclude_special_tokens`
helps only where the padding token stands for nothing else; GPT-2's is its BOS and EOS.

Under the fix a data set with a column `attention_mask` is read with it: the model is given the mask, and
activations where it is 0 are not yielded, for one hook point, for several, and with `seqpos_slice`.
Texts, and rows that are real to the end, go through upstream's code alone. A cache of activations keeps
its rows whole; made under the fix it has -1 as the id of a padded token, and training from it under the
fix leaves those out.

`run_evals` still reads padded rows whole; leave its padding out by `exclude_special_tokens`. A model
that takes no mask (`HookedMamba`, or `AutoModelForCausalLM`, whose wrapper drops it) still sees what is
padded on the left.
Source: `sae_lens/training/activations_store.py`, `_iterate_raw_dataset`, `get_batch_tokens`,
`get_raw_llm_batch`, `_get_filtered_multi_hook_llm_batch`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import PlantedModel, several_hooks, store
from tl_ext.fixes.saelens.views import View

SLUG = "padding-of-tokenised-data-trained-on"
MASK = "attention_mask"
NO_TOKEN = -1


@cache
def _masks() -> Any:
    """Where tokens that a store gave out are real, by the tensor of tokens, for as long as it lives."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def wrap_rows(rows: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """The replacement for `ActivationsStore._iterate_raw_dataset`.

    Args:
        rows: What is there now: the data set's column of ids or texts.

    Returns:
        The same with the complement of its id, a negative number, where a token is padding.
    """

    @wraps(rows)
    def marked(self: Any) -> Iterator[Any]:
        return rows(View(self, dataset=_marked(self)) if self.is_dataset_tokenized else self)

    return marked


def wrap_tokens(tokens: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `ActivationsStore.get_batch_tokens`.

    Args:
        tokens: What is there now: the next rows of tokens.

    Returns:
        The same, with the ids as they are in the data set, and the mask kept aside.
    """

    @wraps(tokens)
    def restored(self: Any, *args: Any, **options: Any) -> Any:
        found = tokens(self, *args, **options)
        padding = found < 0
        if not padding.any():
            return found
        found = (~found).where(padding, found)
        _masks()[found] = ~padding
        return found

    return restored


def wrap_activations(activations: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The replacement for `get_activations` and `get_multi_hook_activations`.

    Args:
        activations: What is there now: activations of tokens.

    Returns:
        The same with the mask of tokens that a store gave out.
    """

    @wraps(activations)
    def attending(self: Any, batch_tokens: Any) -> Any:
        real = _masks().get(batch_tokens)
        if real is None or not _takes_a_mask(self.model):
            return activations(self, batch_tokens)
        options = {MASK: real.long()} | self.model_kwargs
        return activations(View(self, model_kwargs=options), batch_tokens)

    return attending


def wrap_batch(batch: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `get_raw_llm_batch` and `_get_filtered_multi_hook_llm_batch`.

    Args:
        batch: What is there now: activations of the next rows, with their tokens or by hook point.

    Returns:
        The same with `NO_TOKEN` for padded tokens, which are left out where any are.
    """

    @wraps(batch)
    def without_padding(self: Any, *args: Any, **options: Any) -> Any:
        return batch(_Batch(self), *args, **options)

    return without_padding


def wrap_filter(filtered: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_filter_buffer_acts`.

    Args:
        filtered: What is there now: activations without those of excluded tokens.

    Returns:
        The same without those of padded tokens.
    """

    @wraps(filtered)
    def without_padding(buffer: Any, exclude_tokens: Any) -> Any:
        activations, tokens = buffer
        if tokens is not None and not (real := tokens >= 0).all():
            buffer = activations[real], tokens[real]
        return filtered(buffer, exclude_tokens)

    return without_padding


class _Batch(View):
    """A store while it makes one batch of activations, whose padded tokens are `NO_TOKEN`."""

    def get_batch_tokens(self, **options: Any) -> Any:
        tokens = self._of.get_batch_tokens(**options)
        real = _masks().get(tokens)
        vars(self).update(_tokens=tokens, _padded=real is not None)
        return tokens if real is None else tokens.where(real, NO_TOKEN)

    def get_activations(self, _: Any) -> Any:
        return self._of.get_activations(self._tokens)

    def get_multi_hook_activations(self, _: Any) -> Any:
        return self._of.get_multi_hook_activations(self._tokens)

    @property
    def exclude_special_tokens(self) -> Any:
        """Ids that the store of several hook points leaves out."""
        import torch

        excluded = self._of.exclude_special_tokens
        if not self._padded:
            return excluded
        padding = torch.tensor([NO_TOKEN], device=self._of.device)
        return padding if excluded is None else torch.cat([excluded, padding])


def _marked(store: Any) -> Iterator[Any]:
    """Rows of a store's data set, padded tokens marked by the complement of their id."""
    import torch

    dataset, column = store.dataset, store.tokens_column
    if hasattr(dataset, "set_format") and MASK in dataset.column_names:
        # The store has restricted the data set to the column of ids.
        dataset = dataset.with_format("torch", columns=[column, MASK])
    for row in dataset:
        if MASK in row:
            real = torch.as_tensor(row[MASK]).bool()
            if not real.all():
                ids = torch.as_tensor(row[column])
                row = {column: ids.where(real, ~ids).tolist()}
        yield row


def _takes_a_mask(model: Any) -> bool:
    """Whether a model's forward pass, or one that it hands its options to, knows the mask by name."""
    passes = [vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind)]
    return any(MASK in inspect.signature(forward).parameters for forward in passes)


def probe() -> Finding:
    """Let stores read rows of which two tokens of four are padding.

    Returns:
        PRESENT where a padded token is yielded or attended to, ABSENT where none is.
    """
    import torch
    from datasets import Dataset

    padded = {"input_ids": [[7, 7, 3, 4], [5, 6, 7, 7]], MASK: [[0, 0, 1, 1], [1, 1, 0, 0]]}
    two = {"store_batch_size_prompts": 2}
    one = store(PlantedModel(), Dataset.from_dict(padded), **two).get_filtered_llm_batch()
    several = several_hooks(PlantedModel(), Dataset.from_dict(padded), **two)
    found = [one, *several._get_filtered_multi_hook_llm_batch().values()]
    # Ids, and to how many tokens each could attend.
    right = torch.tensor([[3.0, 1.0], [4.0, 2.0], [5.0, 1.0], [6.0, 2.0]])
    kept = [len(activations) for activations in found]
    if all(torch.equal(activations, right) for activations in found):
        return Finding(State.ABSENT, "of 8 tokens the 4 that are no padding are trained on")
    if kept == [4, 4, 4]:
        return Finding(State.PRESENT, "padding on the left is attended to")
    return Finding(State.PRESENT, f"of 8 tokens, 4 of them padding, {kept} are trained on")
