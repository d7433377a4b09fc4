"""SAELens: an SAE and a transcoder that read one hook point disturb each other, and one of them stays.

Attached dictionaries are kept by the hook point they read, so the second one takes the first one's entry:
after `saes()` or `reset_saes` the first is still in the model and can no longer be detached. A transcoder
attached over an SAE reads what is at its own output instead of the SAE's; an SAE attached over a
transcoder cuts it off from its input. And a dictionary attached to another's output inside an inner
`saes()` takes that one away for the rest of the outer one.

Under the fix both are attached: the transcoder reads what the SAE gives, whichever came first, and is kept
under the hook point it writes, `hook_name_out`, in `acts_to_saes` and for `reset_saes`; of two transcoders
the second is. `saes()` takes back what it attached, in reverse, and nothing else. A dictionary attached at
the very place of another takes its place, as upstream says, and gives it back when it is detached.
As before, a hook that is added at the hook point a transcoder reads while the transcoder is attached
(`run_with_hooks_with_saes` adds its hooks then) comes after the reading, and the transcoder does not see
its edit; one that was there before is seen.
Source: `sae_lens/analysis/hooked_sae_transformer.py` and `sae_transformer_bridge.py`, `add_sae`,
`_reset_sae` and `saes`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.attaching import attachment, place, putting_back, remembering, standing
from tl_ext.fixes.tiny import sae, sae_bridge, transcoder

SLUG = "dictionaries-on-one-hook-point-leak"

_READERS = "_tl_ext_readers"


def wrap_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_SAEWrapper.forward`: transcoders that read here are given the output.

    Args:
        forward: What is there now.
    """

    @wraps(forward)
    def telling_readers(self: Any, original_output: Any) -> Any:
        output = forward(self, original_output)
        for reader in self.__dict__.get(_READERS, ()):
            reader.capture_input(output)
        return output

    return telling_readers


def wrap_add_sae(add_sae: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `add_sae`: two dictionaries that read one hook point are both kept.

    Args:
        add_sae: What is there now.
    """
    adding = remembering(add_sae)

    @wraps(add_sae)
    def add(self: Any, sae: Any, *args: Any, **options: Any) -> Any:
        key = sae.cfg.metadata.hook_name
        held = self._acts_to_saes.get(key)
        result = adding(self, sae, *args, **options)
        new = self._acts_to_saes.get(key)
        if new is None or new is held:
            return result
        one, other = attachment(held), attachment(new)
        if one is not None and other is not None and one.writes != other.writes:
            self._transcoder_output_hooks.pop(key, None)
            stays, goes = (held, new) if other.is_transcoder else (new, held)
            self._acts_to_saes[key] = stays
            self._acts_to_saes[goes.sae.cfg.metadata.hook_name_out] = goes
            if stays is held and one.is_transcoder:
                self._transcoder_output_hooks[key] = one.writes
        _connect(self)
        return result

    return add


def wrap_reset_sae(reset_sae: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_reset_sae`: what was attached beneath stands there again.

    Args:
        reset_sae: What is there now.
    """
    resetting = putting_back(reset_sae)

    @wraps(reset_sae)
    def reset(self: Any, act_name: str, prev_wrapper: Any = None) -> Any:
        known = attachment(self._acts_to_saes.get(act_name))
        result = resetting(self, act_name, prev_wrapper)
        if known is not None and attachment(standing(self, known.writes)) is None:
            _uncover(self, known.writes)
        _connect(self)
        return result

    return reset


def wrap_saes(saes: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for the context `saes`: it leaves the dictionaries that it found.

    Args:
        saes: What is there now.
    """
    signature = inspect.signature(saes)

    @contextmanager
    @wraps(saes)
    def leaving_what_was_there(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        given = signature.bind(self, *args, **options)
        given.apply_defaults()
        reset = given.arguments["reset_saes_end"]
        given.arguments["reset_saes_end"] = False
        before = dict(self._acts_to_saes)
        mine: dict[str, Any] | None = None
        try:
            with saes(*given.args, **given.kwargs):
                mine = _added(self, before)
                yield self
        finally:
            if reset:
                _restore(self, before, _added(self, before) if mine is None else mine)

    return leaving_what_was_there


def _added(model: Any, before: dict[str, Any]) -> dict[str, Any]:
    """The attached wrappers that were not attached before, by their key."""
    known = list(before.values())
    return {key: one for key, one in model._acts_to_saes.items() if one not in known}


def _restore(model: Any, before: dict[str, Any], mine: dict[str, Any]) -> None:
    """Detach what a context attached, the last first, and attach again what it displaced."""
    for key in reversed(mine):
        if key in model._acts_to_saes:
            displaced = before.get(key)
            attached = displaced in model._acts_to_saes.values()
            model._reset_sae(key, None if attached else displaced)
    for key, former in before.items():
        # A transcoder that an SAE had moved to another key goes back to its own.
        found = next((k for k, one in model._acts_to_saes.items() if one is former), None)
        if found is not None and found != key and key not in model._acts_to_saes:
            model._acts_to_saes[key] = model._acts_to_saes.pop(found)
            known = attachment(former)
            if known is not None and known.is_transcoder:
                model._transcoder_output_hooks[key] = known.writes
    _connect(model)
    if hasattr(type(model), "setup"):
        model.setup()


def _capture(wrapper: Any) -> None:
    """Let a transcoder read its hook point also where upstream, finding an SAE there, gave that up."""
    known = attachment(wrapper)
    if known is None or not known.is_transcoder or known.capture is not None:
        return

    def capture(tensor: Any, hook: Any) -> None:
        wrapper.capture_input(tensor)

    known.source.add_hook(capture, is_permanent=True)
    known.capture = (known.source, known.source.fwd_hooks[-1])


def _uncover(model: Any, name: str) -> None:
    """Put the dictionary that was attached last, of those attached there, where it stood."""
    for wrapper in reversed(model._acts_to_saes.values()):
        known = attachment(wrapper)
        if known is not None and known.writes == name:
            place(model, name, wrapper)
            return


def _connect(model: Any) -> None:
    """Let each attached transcoder read, and each dictionary know which of them read where it writes."""
    known = [(one, attachment(one)) for one in model._acts_to_saes.values()]
    for wrapper, at in known:
        _capture(wrapper)
        wrapper.__dict__[_READERS] = [
            other
            for other, there in known
            if at and there and there.is_transcoder and there.reads == at.writes
        ]


def probe() -> Finding:
    """Attach an SAE and a transcoder that read one hook point of a tiny bridge, for one run.

    Returns:
        PRESENT where the transcoder reads something else than what the SAE gives, or the bridge computes
        otherwise afterwards; ABSENT where neither is so.
    """
    import torch

    bridge, ids = sae_bridge(), torch.tensor([[1, 2, 3]])
    reads, writes = "blocks.0.ln2.hook_out", "blocks.0.mlp.hook_out"
    with torch.no_grad():
        before = bridge(ids)
        both = [sae(reads), transcoder(reads, writes)]
        _, cache = bridge.run_with_cache_with_saes(ids, saes=both)
        wrong = cache[f"{writes}.hook_sae_input"] - cache[f"{reads}.hook_sae_output"]
        leaked = (bridge(ids) - before).abs().max().item()
    apart = wrong.abs().max().item()
    if max(apart, leaked) > 1e-4:
        evidence = f"the transcoder's input is {apart:.2g} off, later logits are {leaked:.2g} off"
        return Finding(State.PRESENT, evidence)
    return Finding(State.ABSENT, "the transcoder reads what the SAE gives, and both are detached")
