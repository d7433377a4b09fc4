"""A part of the model: up to a layer, and from a layer on."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.plain_modules import hooked, places

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M20")
def stopping_at_a_layer_gives_the_stream_there(subject: Subject, found: Findings) -> None:
    """stop_at_layer, counted from either end, gives what the plain model's block there is given."""
    n = subject.bridge.cfg.n_layers
    for layer in range(n):
        truth = _entering(subject, layer)
        for asked in (layer, layer - n):
            script = f"""\
            held = []
            bridge.blocks[{layer}].hook_in.add_hook(lambda value, hook: held.append(value.clone()))
            bridge(ids)
            bridge.reset_hooks()
            error = (bridge(ids, stop_at_layer={asked}) - held[0]).abs().max()"""
            with torch.no_grad():
                ways = {
                    "forward": subject.bridge(subject.ids, stop_at_layer=asked),
                    "run_with_hooks": subject.run(stop_at_layer=asked),
                }
            for way, stream in ways.items():
                found.close(f"{way} with stop_at_layer={asked}", stream, truth, script=script)
    after = subject.run()
    found.same("logits after stopping", after, subject.logits)


@check("M20")
def a_cache_holds_what_fired_before_the_stop(subject: Subject, found: Findings) -> None:
    """With stop_at_layer a cache holds what fires before that layer, unchanged, and nothing later."""
    order = [name for name in subject.points if name in subject.cache]
    for layer in range(subject.bridge.cfg.n_layers):
        end = f"blocks.{layer}.hook_in"
        if end not in order:
            continue
        before = set(order[: order.index(end)])
        with torch.no_grad():
            _, cache = subject.bridge.run_with_cache(subject.ids, stop_at_layer=layer)
        held = {subject.bridge.hook_dict[name].name: name for name in dict(cache.items())}
        script = f"""\
        whole = list(bridge.run_with_cache(ids)[1].keys())
        held = bridge.run_with_cache(ids, stop_at_layer={layer})[1].keys()
        before = whole[: whole.index({end!r})]
        error = len(set(before) - set(held))"""
        missing, later = sorted(before - held.keys()), sorted(held.keys() - before - {end})
        told = f"lacks {missing}; they fire before that layer"
        found.holds(f"the cache of stop_at_layer={layer}", not missing, told, script=script)
        told = f"holds {later}; they fire at that layer or later"
        found.holds(f"the cache of stop_at_layer={layer}", not later, told)
        for own, name in held.items():
            if own in before:
                found.same(f"{name} with stop_at_layer={layer}", cache[name], subject.cache[own])


@check("M21")
def starting_at_a_layer_goes_on_from_the_stream(subject: Subject, found: Findings) -> None:
    """start_at_layer with the stream that enters a layer, as it is and edited, gives the plain logits.

    TransformerLens 3.9 has no start_at_layer and says so; that is no failure. Nor is it asked where the
    plain model takes no embeddings in the place of tokens, which upstream says it needs.
    """
    if "inputs_embeds" not in inspect.signature(subject.reference.forward).parameters:
        return
    n, at = subject.bridge.cfg.n_layers, places(subject)
    for layer in range(n):
        name = f"blocks.{layer}.hook_in"
        if name not in at:
            continue
        stream = _entering(subject, layer)
        noise = subject.noise(stream)
        with hooked(subject, at[name], partial(torch.add, noise)):
            edited = subject.plain(subject.ids)
        try:
            with torch.no_grad():
                found.close(
                    f"logits of start_at_layer={layer}",
                    subject.bridge(stream, start_at_layer=layer),
                    subject.truth,
                    script=f"""\
                    stream = bridge(ids, stop_at_layer={layer})
                    seen = bridge(stream, start_at_layer={layer})
                    error = (seen - reference(ids).logits).abs().max()""",
                )
                found.close(
                    f"logits of start_at_layer={layer - n} from an edited stream",
                    subject.bridge(stream + noise, start_at_layer=layer - n),
                    edited,
                    script=f"""\
                    stream = bridge(ids, stop_at_layer={layer})
                    noise = torch.randn_like(stream)
                    edit = ({name!r}, lambda value, hook: value + noise)
                    seen = bridge(stream + noise, start_at_layer={layer - n})
                    error = (seen - bridge.run_with_hooks(ids, fwd_hooks=[edit])).abs().max()""",
                )
        except NotImplementedError:
            found.holds("start_at_layer", True, "")
    found.same("logits after starting at a layer", subject.run(), subject.logits)


def _entering(subject: Subject, layer: int) -> Tensor:
    """The stream that enters a layer of the plain model [batch, position, d_model]."""
    name = f"blocks.{layer}.hook_in"
    held: list[Tensor] = []
    with hooked(subject, places(subject)[name], lambda value: held.append(value.detach().clone())):
        subject.plain(subject.ids)
    return held[0]
