"""Every difference between TransformerLens 3.9 and 4.x, between SAELens present and absent.

Nothing here imports upstream until it is called. What upstream offers no public way to do is done
here too, in one place, so that a new release is checked in one place.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import metadata, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

DISTRIBUTIONS = (
    "tl-ext",
    "transformer-lens",
    "sae-lens",
    "transformers",
    "torch",
    "numpy",
    "pandas",
)


def versions() -> dict[str, str | None]:
    """The installed version of everything a result depends on; None for what is absent."""
    found: dict[str, str | None] = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


@cache
def transformer_lens_major() -> int:
    """3 or 4."""
    return int(metadata.version("transformer-lens").split(".")[0])


def saelens_installed() -> bool:
    """Whether sae_lens is installed; it is not imported to find out."""
    return util.find_spec("sae_lens") is not None


def saelens_usable() -> bool:
    """Whether `import sae_lens` works, without importing it to find out.

    It needs HookedTransformer, which TransformerLens 4 removed. Beside that it works once the fix
    `no-import-beside-transformerlens-4` is in effect, and where it is imported already.
    """
    if not saelens_installed():
        return False
    if transformer_lens_major() < 4 or "sae_lens" in sys.modules:
        return True
    # Under the fix the package is found with a loader that says where it finds what it lacks.
    spec = util.find_spec("sae_lens")
    return bool(spec and getattr(spec.loader, "redirects", False))


def own_architectures() -> tuple[str, ...]:
    """The architectures TransformerLens has adapters of its own for; imports it, and torch with it."""
    from transformer_lens.factories import architecture_adapter_factory

    # What is registered, or seen through a fix, is somebody else's.
    return tuple(
        name
        for name, adapter in architecture_adapter_factory.SUPPORTED_ARCHITECTURES.items()
        if adapter.__module__.startswith("transformer_lens.")
    )


def adapter_factory() -> Any:
    """The factory that keeps adapters; a public read of its table, `_adapters`, neither release has."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    return ArchitectureAdapterFactory


def architecture_of(config: Any) -> str:
    """The architecture TransformerLens would boot a Hugging Face config as.

    Args:
        config: The config.

    Raises:
        ValueError: It knows none for it.
    """
    from transformer_lens.model_bridge.sources import transformers

    return str(transformers.determine_architecture_from_hf_config(config))


def stand_in_tokenizer() -> PreTrainedTokenizerBase:
    """A new tokenizer to boot with; booting changes it, so one serves once.

    `boot_transformers` reloads the tokenizer it is given from disk or hub, which loses added tokens,
    chat templates and padding, and fails for one made in memory. A tokenizer without BOS is kept.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<stand-in>": 0}, unk_token="<stand-in>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<stand-in>", pad_token="<stand-in>"
    )


def prefix_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids that stand before a text.

    What the tokenizer itself puts there; where it puts nothing, its BOS token if it has one (GPT-2's
    tokenizer has one and does not use it); else nothing. EOS never stands in for BOS: what booting
    a bridge writes into a tokenizer that has none does not count.

    Args:
        tokenizer: Any Hugging Face tokenizer.

    Returns:
        Usually one id; two for ChatGLM; none for Qwen2.
    """
    before = ids_before_text(tokenizer)
    return before or ([tokenizer.bos_token_id] if has_bos(tokenizer) else [])


def ids_before_text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids a tokenizer itself puts before a text.

    Args:
        tokenizer: Any Hugging Face tokenizer.

    Returns:
        Often none, though it has a BOS token.
    """
    sample = "a"
    plain = list(tokenizer(sample, add_special_tokens=False)["input_ids"])
    dressed = list(tokenizer(sample)["input_ids"])
    for start in range(len(dressed) - len(plain) + 1):
        if dressed[start : start + len(plain)] == plain:
            return dressed[:start]
    return []


def has_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer was made with a BOS token of its own.

    `boot_transformers` gives one that has none its EOS token as BOS (`setup_tokenizer`), after which
    only the arguments it was made with tell the two apart.
    """
    if tokenizer.bos_token_id is None:
        return False
    stands_in = tokenizer.bos_token_id == tokenizer.eos_token_id
    return not (stands_in and tokenizer.init_kwargs.get("bos_token") is None)


def install_tokenizer(
    bridge: TransformerBridge, tokenizer: PreTrainedTokenizerBase, *, prefix: Sequence[int]
) -> None:
    """Give a booted bridge its tokenizer without upstream's reloading.

    The public setter runs the same reload as booting does, so the field behind it is set.

    Args:
        bridge: A booted bridge.
        tokenizer: The tokenizer to use from now on; upstream may change it.
        prefix: The ids the tokenizer, or its BOS policy, puts before a text.
    """
    bridge._tokenizer = tokenizer  # type: ignore[assignment]
    plain = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    dressed: list[int] = list(tokenizer("a")["input_ids"])
    # Upstream guesses these three from a tokenizer; the guess it made was about the stand-in.
    bridge.cfg.tokenizer_prepends_bos = bool(prefix) and dressed[: len(prefix)] == list(prefix)
    bridge.cfg.tokenizer_appends_eos = (
        len(dressed) > plain and dressed[-1] == tokenizer.eos_token_id
    )
    bridge.cfg.default_prepend_bos = bool(prefix)


def check_switched_on(bridge: TransformerBridge, point: HookPoint, name: str) -> None:
    """Raise ValueError, naming the switch, where a hook point is switched off and would never fire."""
    if transformer_lens_major() < 4:
        bridge.check_hooks_to_add(name)
    else:
        bridge.check_hooks_to_add(point, name, print)  # type: ignore[call-arg, arg-type]


def weights_processed(bridge: Any) -> bool:
    """Whether upstream has folded or centred the bridge's weights."""
    return bool(getattr(bridge, "_weights_processed", False))
