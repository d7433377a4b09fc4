"""SAELens leaves out what stands before a text, whatever it is called."""

from __future__ import annotations

import pytest
from tests.tiny import tiny_tokenizer

from tl_ext import fixes
from tl_ext.fixes.saelens.prefix_not_excluded import SLUG
from tl_ext.fixes.tiny import PREFIX, tokenizer_without_bos

pytestmark = pytest.mark.saelens


def test_the_ids_and_that_others_stay_as_they_are() -> None:
    from sae_lens import evals, multi_sae_training_runner, util
    from sae_lens.analysis import hooked_sae_transformer
    from sae_lens.training import activations_store

    plain, two = tokenizer_without_bos(), tokenizer_without_bos(PREFIX)
    tuned = tokenizer_without_bos()
    tuned.add_tokens("<|endoftext|>")
    with_bos = tiny_tokenizer()
    before = {id(one): util.get_special_token_ids(one) for one in (plain, with_bos)}
    with fixes.applied(SLUG):
        for module in (
            util,
            evals,
            multi_sae_training_runner,
            hooked_sae_transformer,
            activations_store,
        ):
            for one in (plain, with_bos):
                assert module.get_special_token_ids(one) == before[id(one)]
            assert sorted(module.get_special_token_ids(two)) == [2, 3, 4, 5]
            assert sorted(module.get_special_token_ids(tuned)) == [2, 3, 4]
