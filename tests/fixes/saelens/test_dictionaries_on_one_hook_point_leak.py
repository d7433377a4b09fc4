"""Dictionaries that share a hook point work together, and leave as they came."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import IDS, both_classes, model_of, sae, transcoder

from tl_ext import fixes
from tl_ext.fixes.saelens.dictionaries_on_one_hook_point_leak import SLUG

pytestmark = pytest.mark.saelens

TOGETHER = (
    SLUG,
    "aliases-silent-on-sae-bridge",
    "hook-point-dead-after-sae",
    "hooks-on-sae-outlive-it",
    "user-hooks-lost-on-attach",
    "w-skip-dropped-on-attach",
)
alone_and_together = pytest.mark.parametrize("slugs", [TOGETHER[:1], TOGETHER, TOGETHER[::-1]])

READS = {"bridge": "blocks.1.ln2.hook_out", "hooked": "blocks.1.mlp.hook_in"}
WRITES = {"bridge": "blocks.1.mlp.hook_out", "hooked": "blocks.1.hook_mlp_out"}
LATER = {"bridge": "blocks.2.attn.hook_out", "hooked": "blocks.2.hook_attn_out"}


def pair(kind: str) -> tuple[Any, Any]:
    return sae(READS[kind]), transcoder(READS[kind], WRITES[kind])


def by_hand(model: Any, kind: str, *dictionaries: Any) -> Any:
    """Logits with each dictionary's output put in its place by plain hooks."""
    read: dict[str, Any] = {}
    hooks = []

    def putting(one: Any, reads: str) -> Any:
        return lambda x, hook: one(x if one.cfg.metadata.hook_name_out is None else read[reads])

    for one in dictionaries:
        reads = one.cfg.metadata.hook_name
        hooks.append((one.cfg.metadata.hook_name_out or reads, putting(one, reads)))

    def note(x: Any, hook: Any) -> None:
        read[READS[kind]] = x

    hooks.append((READS[kind], note))
    with torch.no_grad():
        return model.run_with_hooks(IDS, fwd_hooks=hooks)


@both_classes
@alone_and_together
@pytest.mark.parametrize("turned", [False, True])
def test_the_transcoder_reads_what_the_sae_gives(
    kind: str, turned: bool, slugs: tuple[str, ...]
) -> None:
    model, (one, two) = model_of(kind), pair(kind)
    base, expected = by_hand(model, kind), by_hand(model, kind, one, two)
    both = [two, one] if turned else [one, two]
    with torch.no_grad(), fixes.applied(*slugs):
        hooks = {name: list(point.fwd_hooks) for name, point in model.hook_dict.items()}
        torch.testing.assert_close(model.run_with_saes(IDS, saes=both), expected)
        assert torch.equal(model(IDS), base) and model.acts_to_saes == {}
        with pytest.raises(RuntimeError), model.saes(both):
            assert set(map(id, model.acts_to_saes.values())) == {id(one), id(two)}
            raise RuntimeError
        assert torch.equal(model(IDS), base) and model.acts_to_saes == {}
        assert {name: point.fwd_hooks for name, point in model.hook_dict.items()} == hooks
        assert not model._transcoder_output_hooks


@both_classes
def test_each_is_detached_by_the_name_it_is_kept_under(kind: str) -> None:
    model, (one, two) = model_of(kind), pair(kind)
    base = by_hand(model, kind)
    with torch.no_grad(), fixes.applied(SLUG):
        for order in ((one, two), (two, one)):
            for dictionary in order:
                model.add_sae(dictionary)
            assert model.acts_to_saes == {READS[kind]: one, WRITES[kind]: two}
            model.reset_saes(READS[kind])
            torch.testing.assert_close(model(IDS), by_hand(model_of(kind), kind, two))
            model.add_sae(one)
            model.reset_saes(WRITES[kind])
            torch.testing.assert_close(model(IDS), by_hand(model_of(kind), kind, one))
            model.reset_saes()
            assert torch.equal(model(IDS), base)


@both_classes
def test_two_transcoders_may_read_one_hook_point(kind: str) -> None:
    model = model_of(kind)
    both = [
        transcoder(READS[kind], WRITES[kind]),
        transcoder(READS[kind], LATER[kind], seed=7),
    ]
    base, expected = by_hand(model, kind), by_hand(model, kind, *both)
    with torch.no_grad(), fixes.applied(SLUG):
        torch.testing.assert_close(model.run_with_saes(IDS, saes=both), expected)
        for dictionary in both:
            model.add_sae(dictionary)
        model.reset_saes(READS[kind])
        torch.testing.assert_close(model(IDS), by_hand(model_of(kind), kind, both[1]))
        model.reset_saes()
        assert torch.equal(model(IDS), base)


@both_classes
@alone_and_together
def test_an_inner_context_gives_back_what_it_displaced(kind: str, slugs: tuple[str, ...]) -> None:
    model, (one, two) = model_of(kind), pair(kind)
    inner = {
        "same": [sae(READS[kind], seed=4)],
        "twice": [sae(READS[kind], seed=4), sae(READS[kind], seed=5)],
        "output": [sae(WRITES[kind], seed=4)],
        "transcoder": [transcoder(READS[kind], WRITES[kind], seed=6)],
        "all": [transcoder(READS[kind], WRITES[kind], seed=6), sae(READS[kind]), sae(WRITES[kind])],
    }
    base = by_hand(model, kind)
    with torch.no_grad(), fixes.applied(*slugs):
        for outer in ([one], [two], *permutations((one, two))):
            expected = by_hand(model_of(kind), kind, *sorted(outer, key=lambda d: d is two))
            for name, saes in inner.items():
                with model.saes(list(outer)):
                    kept = model.acts_to_saes
                    with model.saes(saes):
                        model(IDS)
                    assert model.acts_to_saes == kept, name
                    torch.testing.assert_close(model(IDS), expected, msg=name)
                    with model.saes(saes):
                        pass
                assert model.acts_to_saes == {} and torch.equal(model(IDS), base), name


@both_classes
def test_what_is_attached_inside_by_hand_stays(kind: str) -> None:
    model, (one, _) = model_of(kind), pair(kind)
    elsewhere = sae(LATER[kind], seed=9)
    with torch.no_grad(), fixes.applied(SLUG):
        with model.saes([one], reset_saes_end=False):
            pass
        assert model.acts_to_saes == {READS[kind]: one}
        with model.saes([sae(READS[kind], seed=4)]):
            model.add_sae(elsewhere)
        assert model.acts_to_saes == {READS[kind]: one, LATER[kind]: elsewhere}
        model.reset_saes()
        with model.saes():
            model.add_sae(elsewhere)
        assert model.acts_to_saes == {LATER[kind]: elsewhere}
        model.reset_saes()


@both_classes
def test_dictionaries_apart_are_as_before(kind: str) -> None:
    saes = [sae(READS[kind]), sae(LATER[kind]), transcoder(WRITES[kind], "blocks.2.hook_out")]
    if kind == "hooked":
        saes.pop()
    results = []
    for slugs in ((), (SLUG,)):
        with torch.no_grad(), fixes.applied(*slugs):
            model = model_of(kind)
            results.append(model.run_with_cache_with_saes(IDS, saes=saes, use_error_term=True)[1])
    before, after = results
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
