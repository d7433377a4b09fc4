"""Attaching, hooking, running and taking back in any order, drawn by Hypothesis."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from tl_ext.conformance.checking import Findings, check

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject

SEQUENCES = 12
"""How many are drawn."""

STEPS = 8
"""How long one may be."""

SECONDS = 2.0
"""How long to look for a shorter one that fails."""

LAST = ("reset_saes", "reset_hooks")
"""What everything is taken back with in the end."""


class _Left(AssertionError):
    """Something was left behind."""


class _Raised(Exception):
    """What a hook raises."""


@check("D14", "attaches")
def in_any_order_nothing_is_left(subject: DictionarySubject, found: Findings) -> None:
    """However it is attached, hooked, run, reset and detached, in the end the model was never touched."""
    from hypothesis import HealthCheck, Phase, Verbosity, settings
    from hypothesis.stateful import run_state_machine_as_test

    failed: list[list[str]] = []
    with suppress(_Left):
        run_state_machine_as_test(
            _machine(subject, failed),
            settings=settings(
                max_examples=SEQUENCES,
                stateful_step_count=STEPS,
                derandomize=True,
                database=None,
                deadline=None,
                # A sequence is shortened here: it is known what a step is.
                phases=[Phase.generate],
                verbosity=Verbosity.quiet,
                suppress_health_check=list(HealthCheck),
            ),
        )
    steps = _shorter(subject, failed[0]) if failed else []
    told = f"leaves something behind: {left_by(subject, steps)}" if failed else ""
    found.holds(", ".join([*steps, *LAST]), not failed, told)


def left_by(subject: DictionarySubject, steps: Sequence[str]) -> str:
    """What there is after a sequence of steps, and taking all back, that was not there before.

    Args:
        subject: The subject, which is as it was afterwards.
        steps: Names of steps.

    Returns:
        Empty where there is nothing.
    """
    bridge, actions = subject.bridge, _actions(subject)
    names, logits, latents = set(bridge.hook_dict), subject.logits, _encoded(subject)
    with subject.kept(), torch.no_grad():
        for step in (*steps, *LAST):
            try:
                actions[step]()
            except _Raised:
                pass
            except Exception as error:
                return f"{step} ends with {type(error).__name__}: {error}"
        if differ := sorted(set(bridge.hook_dict) ^ names):
            return f"hook_dict has gained or lost {differ[:4]}"
        if hooks := [name for name, point in bridge.hook_dict.items() if point.fwd_hooks]:
            return f"hooks at {hooks[:4]}"
        if not torch.equal(subject.run(), logits):
            return "other logits"
        return "" if torch.equal(_encoded(subject), latents) else "other latents"


def _machine(subject: DictionarySubject, failed: list[list[str]]) -> Any:
    """A machine that draws sequences of what may be done, and keeps those that fail."""
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, rule

    step = st.sampled_from(list(_actions(subject)))

    class Sequences(RuleBasedStateMachine):
        """What may be done to a model with a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: list[str] = []

        @rule(step=step)
        def do(self, step: str) -> None:
            self.steps.append(step)

        def teardown(self) -> None:
            if left_by(subject, self.steps):
                failed.append(self.steps)
                raise _Left

    return Sequences


def _shorter(subject: DictionarySubject, steps: list[str]) -> list[str]:
    """The same with every step left out that it fails without, for some seconds."""
    end = time.process_time() + SECONDS
    for number in range(len(steps) - 1, -1, -1):
        fewer = steps[:number] + steps[number + 1 :]
        if time.process_time() < end and left_by(subject, fewer):
            steps = fewer
    return steps


def _actions(subject: DictionarySubject) -> Mapping[str, Callable[[], object]]:
    """What may be done, by what a report calls it."""
    bridge, sae, ids = subject.bridge, subject.sae, subject.ids
    latents = bridge.get_sae_hook_name(sae)

    def hook(name: str) -> Callable[[], None]:
        def add() -> None:
            # While a dictionary is attached its place has no name.
            if name in bridge.hook_dict:
                bridge.add_hook(name, lambda x, hook: x + 1)

        return add

    def raise_inside() -> None:
        def raises(x: Any, hook: Any) -> None:
            raise _Raised

        with bridge.saes([sae]):
            bridge.run_with_hooks(ids, fwd_hooks=[("ln_final.hook_out", raises)])

    def generate() -> None:
        bridge.generate(ids, max_new_tokens=2, do_sample=False, stop_at_eos=False, verbose=False)

    return {
        "forward": lambda: bridge(ids),
        "add_sae": lambda: bridge.add_sae(sae),
        "add_sae with its error term": lambda: bridge.add_sae(sae, use_error_term=True),
        **{f"add_hook at {name}": hook(name) for name in (subject.hook_in, subject.hook_out)},
        f"add_hook at {latents}": hook(latents),
        "reset_hooks": bridge.reset_hooks,
        "reset_saes": bridge.reset_saes,
        "run_with_cache": lambda: bridge.run_with_cache(ids),
        "run_with_saes": lambda: bridge.run_with_saes(ids, saes=[sae]),
        "generate": generate,
        "a hook that raises inside saes()": raise_inside,
    }


def _encoded(subject: DictionarySubject) -> torch.Tensor:
    """What the dictionary itself makes of what it reads."""
    sae = subject.sae
    x = subject.x.unflatten(-1, (1, -1)) if sae.hook_z_reshaping_mode else subject.x
    with torch.no_grad():
        latents: torch.Tensor = sae.encode(x).clone()
    return latents
