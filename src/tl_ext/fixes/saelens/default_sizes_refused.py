"""SAELens: a run with the default sizes ends in "Buffer size must be greater than or equal to batch size".

`n_batches_in_buffer` counts batches of the language model, `store_batch_size_prompts` rows each: the
configuration's documentation and what it prints before a run say so. The store counts rows. With the
defaults it makes a buffer of 20 rows of 128 tokens, and refuses it because a training batch is 4096.

Where the buffer would be refused the fix makes it as large as the documentation says: 81920 tokens with
the defaults. Runs that were not refused keep the buffer they had, `store_batch_size_prompts` times
smaller than documented: a larger one shuffles better and takes more memory, which is the user's to
choose. Sizes that are contradictory as documented too are refused as before.
Source: `sae_lens/training/activations_store.py`, `get_data_loader`, `get_multi_hook_data_loader`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import PlantedModel, rows, several_hooks, store
from tl_ext.fixes.saelens.views import View

SLUG = "default-sizes-refused"


def wrap(loader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The replacement for `get_data_loader` and `get_multi_hook_data_loader`.

    Args:
        loader: What is there now: makes the stream of training batches of a store.

    Returns:
        The same with the documented buffer where a smaller one would be refused.
    """

    @wraps(loader)
    def large_enough(self: Any) -> Any:
        in_rows = self.n_batches_in_buffer * self.training_context_size
        if in_rows >= self.train_batch_size_tokens:
            return loader(self)
        # Upstream counts rows where the setting counts batches.
        batches_in_rows = self.n_batches_in_buffer * self.store_batch_size_prompts
        return loader(View(self, n_batches_in_buffer=batches_in_rows))

    return large_enough


def probe() -> Finding:
    """Ask stores for a training batch larger than their buffer is in rows.

    Returns:
        PRESENT where one refuses, ABSENT where the batches come.
    """
    sizes = {"n_batches_in_buffer": 2, "store_batch_size_prompts": 8, "train_batch_size_tokens": 16}
    one = store(PlantedModel(), rows(), **sizes)
    several = several_hooks(PlantedModel(), rows(), **sizes)
    for loader in (one.get_data_loader(), several.get_multi_hook_data_loader()):
        try:
            next(loader)
        except ValueError as error:
            if "Buffer size" not in str(error):
                raise
            return Finding(State.PRESENT, f"a buffer of 2 batches of 8 rows of 4 tokens: {error}")
    return Finding(State.ABSENT, "a buffer of 2 batches of 8 rows of 4 tokens gives batches of 16")
