"""From a name, a folder or a model in memory to a hooked model that is safe to use.

Upstream's `boot_transformers` reloads the tokenizer it is given and drops what the caller changed on
it, so `load_model` boots with a stand-in and then gives the model a private copy of the real one.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from tl_ext import upstream
from tl_ext.errors import InputError, TlExtError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TESTBED_NAMES = ("testbed", "testbed://")
# Endings of architectures that have no language head.
OTHER_HEADS = ("Classification", "QuestionAnswering", "RewardModel")


@dataclass(frozen=True)
class Processing:
    """Which of upstream's weight processings a model has had, or a dictionary was trained under.

    Processing keeps log-probabilities and changes activations, so a dictionary fits only a model that
    was processed as its own was. Source: `TransformerBridge.enable_compatibility_mode`.

    Attributes:
        fold_layer_norm: Fold the norms' weights into the layers that read them.
        center_writing_weights: Take the mean over the residual stream out of what is written to it.
        center_unembed: Centre the unembedding over the vocabulary.
        fold_value_biases: Move the value biases into the attention's output bias.
    """

    fold_layer_norm: bool = False
    center_writing_weights: bool = False
    center_unembed: bool = False
    fold_value_biases: bool = False

    RAW: ClassVar[Processing]
    COMPATIBILITY: ClassVar[Processing]

    def __str__(self) -> str:
        if self == Processing.RAW:
            return "raw"
        on = [field.name for field in fields(self) if getattr(self, field.name)]
        return "compatibility" if self == Processing.COMPATIBILITY else " + ".join(on)


Processing.RAW = Processing()
Processing.COMPATIBILITY = Processing(True, True, True, True)

# A bridge refuses to be told apart by value and outlives no table of ours, so the record is weak.
_processing: weakref.WeakKeyDictionary[Any, Processing] = weakref.WeakKeyDictionary()


def load_model(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    processing: Processing = Processing.RAW,
    trust_remote_code: bool = False,
) -> TransformerBridge:
    """Load a model with hook points.

    Runs [`activate`][tl_ext.models.activation.activate] first, so architectures that plugins bring
    are known. Nothing else of upstream is changed.

    Args:
        model: A hub name, a local folder, `"testbed"` for the model shipped with this package, or a
            Hugging Face model already in memory (which is then wrapped, not copied).
        tokenizer: The tokenizer to use. Needed for a model in memory; otherwise it is read from where
            the model is. The hooked model gets a copy of it; the caller's object is never changed.
        device: Where to put the weights. None: a GPU where there is one, else the CPU; a model in
            memory stays where it is.
        dtype: The weights' type. None: float32 for a name or a folder, a model in memory keeps its own.
        processing: The weight processing to apply; `Processing.COMPATIBILITY` is what dictionaries
            trained on HookedTransformer's defaults expect.
        trust_remote_code: Passed to transformers as it is. Runs code from the checkpoint when true.

    Returns:
        The hooked model, in evaluation mode. `model.tokenizer` is the private copy.

    Raises:
        InputError: `model` is a model in memory and no tokenizer was given, a local path that is not
            a folder with a checkpoint, a name that leads to no model, or an architecture that neither
            TransformerLens nor a plugin knows, or that cannot be processed.
        UnsupportedModelError: The architecture is known and this checkpoint of it cannot be represented.
    """
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.models.activation import activate

    activate()
    in_memory = not isinstance(model, (str, Path))
    source = "in-memory" if in_memory else _locate(str(model))
    if not in_memory and not trust_remote_code:
        with _reading(source):
            _refuse_unknown(source)
    if tokenizer is None:
        if in_memory:
            raise InputError(
                f"A model in memory ({type(model).__name__}) comes without its tokenizer. "
                "Pass tokenizer=..."
            )
        from transformers import AutoTokenizer

        with _reading(source):
            private: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                source, trust_remote_code=trust_remote_code
            )
        _refuse_empty(private, source)
    else:
        private = copy.deepcopy(tokenizer)
    if private.pad_token is None:
        private.pad_token = private.eos_token or private.bos_token or private.unk_token

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if in_memory:
        options["hf_model"] = model
        first = next(model.parameters())  # type: ignore[union-attr]
        # Upstream leaves the weights where they are and believes the batches go to the GPU.
        options |= {"dtype": first.dtype, "device": str(first.device)}
        config = model.config  # type: ignore[union-attr]
        source = getattr(config, "name_or_path", "") or type(model).__name__
        # A config knows the class of the checkpoint it came from, or of none; the model knows its own.
        known = [type(model).__name__, *(getattr(config, "architectures", None) or ())]
        options["hf_config_overrides"] = {"architectures": known}
    else:
        options["dtype"] = dtype or torch.float32
        if device is not None:
            options["device"] = device
    with nullcontext() if in_memory else _reading(source):
        bridge = TransformerBridge.boot_transformers(
            source, tokenizer=upstream.stand_in_tokenizer(), **options
        )
    upstream.install_tokenizer(bridge, private, prefix=upstream.prefix_ids(private))
    if in_memory and (device is not None or dtype is not None):
        bridge = bridge.to(*(target for target in (device, dtype) if target is not None))
    bridge.eval()

    if processing != Processing.RAW:
        if not bridge.adapter.supports_compatibility_mode:
            raise InputError(
                f"{bridge.cfg.architecture} cannot be processed ({processing}): its adapter, "
                f"{type(bridge.adapter).__name__}, says that it would compute something else "
                "afterwards. Load it with processing=Processing.RAW."
            )
        bridge.enable_compatibility_mode(
            disable_warnings=True,
            fold_ln=processing.fold_layer_norm,
            center_writing_weights=processing.center_writing_weights,
            center_unembed=processing.center_unembed,
            fold_value_biases=processing.fold_value_biases,
        )
    _processing[bridge] = processing
    return bridge


def processing_of(model: TransformerBridge) -> Processing:
    """The weight processing `model` has had.

    Args:
        model: A hooked model, loaded by this package or not.

    Returns:
        What `load_model` applied. For a model it did not load: upstream's defaults where its weights
        were processed, else raw.
    """
    known = _processing.get(model)
    if known is not None:
        return known
    return Processing.COMPATIBILITY if upstream.weights_processed(model) else Processing.RAW


def _locate(name: str) -> str:
    """The folder or hub name behind what the caller wrote."""
    if name in TESTBED_NAMES:
        from importlib.resources import files

        # By name and not by import: the testbed stands above this room.
        shipped = Path(str(files("tl_ext.testbed") / "weights"))
        if not (shipped / "config.json").is_file():
            raise InputError(
                "The weights of the testbed are missing from this installation: there is no "
                f"{shipped / 'config.json'}. Install the package from its wheel, or load another model."
            )
        return str(shipped)
    path = Path(name).expanduser()
    if path.exists():
        if not (path / "config.json").is_file():
            raise InputError(
                f"{path} holds no checkpoint: a folder with config.json, the weights and the "
                "tokenizer's files is expected."
            )
        return str(path)
    if name.startswith((".", "/", "~")):
        raise InputError(f"There is no folder {path}.")
    return name


def _refuse_unknown(source: str) -> None:
    """Tell what cannot be loaded before anything but the config is read."""
    from transformers import AutoConfig, PreTrainedConfig

    try:
        config = AutoConfig.from_pretrained(source)
        _refuse_other_head(source, upstream.architecture_of(config), config.architectures or ())
    except TlExtError:
        raise  # a config of ours that says what cannot be represented
    except ValueError as error:
        stated, _ = PreTrainedConfig.get_config_dict(source)
        names = ", ".join(stated.get("architectures") or ()) or "model that names no architecture"
        said = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise InputError(
            f"{source} cannot be loaded: it is a {names} (model_type {stated.get('model_type')!r}), "
            "for which neither TransformerLens nor a plugin has an adapter, or whose config is not "
            f"what its class expects. `tl-ext adapters --upstream` lists what loads. Upstream said: {said}."
        ) from error


def _refuse_other_head(source: str, chosen: str, stated: Sequence[str]) -> None:
    """Tell a head that would be dropped: upstream falls back to the model type's language model."""
    lost = [name for name in stated if name.endswith(OTHER_HEADS)]
    if lost and chosen not in stated:
        raise InputError(
            f"{source} is a {lost[0]}, for which neither TransformerLens nor a plugin has an adapter. "
            f"It would be loaded as {chosen}: without its own head, and with an unembedding made at "
            "random. To look at its layers, load them with transformers and pass the model."
        )


def _refuse_empty(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Tell a tokenizer that transformers made of no file, which reads every text as nothing."""
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(
            f"{source} has no tokenizer: none of the files that {type(tokenizer).__name__} reads is "
            "there, such as tokenizer.json or tokenizer.model. Put them beside config.json, or pass "
            "tokenizer=..."
        )


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Say in our words that there is no such model; transformers raises OSError for all such causes."""
    try:
        yield
    except OSError as error:
        if Path(source).is_dir():
            raise InputError(f"The checkpoint in {source} cannot be read: {error}") from error
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source!r} leads to no model: there is no such folder, and the hub has no such model "
            "(or it is private) or could not be reached. Check the name, or give a local folder. "
            f"What transformers said: {said}"
        ) from error
