"""Asking all that is asked of a dictionary, of one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tl_ext.conformance.dictionaries.checks import DICTIONARY_CHECKS
from tl_ext.conformance.dictionaries.subject import of_dictionary
from tl_ext.conformance.running import run_subject
from tl_ext.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.conformance.report import Report


def check_dictionary(
    dictionary: Any,
    model: Any,
    tokens: Tensor | Sequence[Sequence[int]],
    *,
    known_failures: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
) -> Report:
    """Ask of a dictionary whether it computes what it says, and stands in a model without harm.

    Dictionary and model are left as they were. What cannot be asked (SAELens' own ways of one that is no
    object of SAELens', or of a model that takes none) is told as not claimed.

    Args:
        dictionary: An SAE or transcoder of SAELens' in memory, or a dictionary of this package.
        model: The hooked model it is for, with nothing attached: an SAETransformerBridge to have all
            asked, any TransformerBridge for what needs no SAELens.
        tokens: Tokens [batch, position], all of them real; a few are enough.
        known_failures: By check, why it is known to fail, with a link. One that does not is an error.
        seed: What noise and other dictionaries are drawn from.

    Returns:
        What was found, clause by clause; docs/behaviour.md says what each clause means.

    Raises:
        HookPointError: The model has no such hook point.
        InputError: The model is no bridge, or has something attached; or known_failures names no check.

    Example:
        ```python
        bridge = SAETransformerBridge.boot_transformers("gpt2")
        report = check_dictionary(sae, bridge, bridge.to_tokens("A few words are enough"))
        print(report)
        ```
    """
    names = [check.name for check in DICTIONARY_CHECKS]
    for name in known_failures:
        if name not in names:
            raise InputError(f"known_failures names no check: {name!r}.{nearest(name, names)}")
    subject = of_dictionary(dictionary, model, tokens, seed=seed)
    return run_subject(subject.told, subject, DICTIONARY_CHECKS, known_failures=known_failures)
