"""SAELens' folder format: `cfg.json` beside `sae_weights.safetensors`, old spellings and new.

Whatever changes the arithmetic and is not covered here is an error that says so. Only safetensors are
read, never a pickle. Source: sae_lens 6.54, `loading/pretrained_sae_loaders.py` and `saes/*.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import torch
from torch import Tensor

from tl_ext.dictionaries.dictionary import Normalisation, as_device
from tl_ext.dictionaries.sparse import (
    Activation,
    Gated,
    JumpReLU,
    ReLU,
    SparseDictionary,
    TopK,
)
from tl_ext.errors import DictionaryError
from tl_ext.models.hook_points import RESIDUAL_KINDS, kind_of
from tl_ext.models.loading import Processing

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
SCALER = "activation_scaler.json"

SAES = ("standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk")
TRANSCODERS = (
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
COVERED = SAES + TRANSCODERS

# What a configuration of SAELens 6 may say. The second set matters to training alone; a key in
# neither may change the arithmetic.
_READ = frozenset(
    "architecture d_in d_sae d_out dtype device apply_b_dec_to_input normalize_activations "
    "reshape_activations metadata k rescale_acts_by_decoder_norm".split()
)
_TRAINING = frozenset(
    "decoder_init_norm l1_coefficient lp_norm l1_warm_up_steps use_sparse_activations "
    "aux_loss_coefficient topk_threshold_lr matryoshka_widths use_matryoshka_aux_loss "
    "jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode jumprelu_tanh_scale "
    "jumprelu_ste_to_input l0_coefficient l0_warm_up_steps pre_act_loss_coefficient target_l0".split()
)
_METADATA = frozenset(
    "model_name hook_name model_class_name hook_head_index model_from_pretrained_kwargs prepend_bos "
    "exclude_special_tokens neuronpedia_id context_size seqpos_slice dataset_path sae_lens_version "
    "sae_lens_training_version hook_name_out hook_head_index_out hf_hook_name hf_hook_name_out "
    "processing".split()
)
_OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}


@dataclass(frozen=True)
class Config:
    """What a dictionary's `cfg.json` says, in one spelling.

    Attributes:
        where: The file, for messages.
        architecture: One of `COVERED`.
        hook_in: The hook point read.
        hook_out: The hook point reconstructed.
        d_in: Width of what is read.
        d_out: Width of what is reconstructed.
        d_latent: How many latents.
        k: For topk, how many latents are active.
        ranks_by_norm: Whether latents are measured in units of their decoder direction's length.
        centres_input: Whether the decoder bias is taken from the input.
        normalisation: As the file says, before a constant is folded.
        metadata: What does not touch the arithmetic.
    """

    where: str
    architecture: str
    hook_in: str
    hook_out: str
    d_in: int
    d_out: int
    d_latent: int
    k: int | None
    ranks_by_norm: bool
    centres_input: bool
    normalisation: Normalisation
    metadata: Mapping[str, Any]

    @property
    def processing(self) -> Processing | None:
        """The weight processing of the model it was trained on; None where the file does not say."""
        return processing_in(self.metadata, self.hook_in, where=self.where)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors there must be."""
        one = (self.d_latent,)
        shapes: dict[str, tuple[int, ...]] = {
            "W_enc": (self.d_in, self.d_latent),
            "W_dec": (self.d_latent, self.d_out),
            "b_dec": (self.d_out,),
        }
        if self.architecture == "gated":
            shapes |= {"b_gate": one, "b_mag": one, "r_mag": one}
        else:
            shapes |= {"b_enc": one}
        if "jumprelu" in self.architecture:
            shapes |= {"threshold": one}
        if "batchtopk" in self.architecture:
            shapes |= {"topk_threshold": ()}
        if "skip" in self.architecture:
            shapes |= {"W_skip": (self.d_out, self.d_in)}
        return shapes


def read_folder(
    folder: str | Path,
    *,
    id: str | None = None,
    release: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    scaling_factor: float | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> SparseDictionary:
    """Read one dictionary that SAELens saved.

    Args:
        folder: Holds `cfg.json` and `sae_weights.safetensors`.
        id: Its id; the hook point where None.
        release: The published release it comes from.
        overrides: Configuration that a release states and its files do not.
        scaling_factor: The constant that activations were multiplied with in training, where the file
            says `expected_average_only_in` and the folder holds no `activation_scaler.json`.
        device: Where to put the weights; the CPU where None.
        dtype: What to compute in, whatever the weights are stored as.

    Returns:
        The dictionary, its weights checked for names, shapes and finite numbers.

    Raises:
        DictionaryError: A file is missing, damaged, of another shape, holds NaN or infinity, or asks
            for arithmetic that is not covered. The message names the file.
    """
    folder = Path(folder)
    config = read_config(folder, overrides=overrides)
    if scaling_factor is None and config.normalisation == "expected_average_only_in":
        scaling_factor = _scaling_factor(folder)
    tensors = read_tensors(folder / WEIGHTS, config.shapes, device=device, dtype=dtype)
    return build(config, tensors, id=id, release=release, scaling_factor=scaling_factor)


def read_config(folder: Path, *, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read `cfg.json` of a folder; see [`read_folder`][tl_ext.dictionaries.folders.read_folder]."""
    path = folder / CONFIG
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DictionaryError(
            f"{folder} is no complete dictionary: it has no {CONFIG}. Save it again with SAELens' "
            "save_inference_model (training) or save_model."
        ) from None
    except (OSError, ValueError) as damage:
        raise DictionaryError(
            f"{path} cannot be read ({damage}). Copy or save the dictionary again."
        ) from damage
    if not isinstance(given, dict):
        raise DictionaryError(f"{path} holds no JSON object. Copy or save the dictionary again.")
    return parse_config(given, where=str(path), overrides=overrides)


def parse_config(
    given: Mapping[str, Any], *, where: str, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Bring a configuration, old or new, into one spelling.

    Args:
        given: What `cfg.json` holds.
        where: The file, for messages.
        overrides: Configuration that a release states and its files do not.

    Raises:
        DictionaryError: Something is missing, contradictory, or not covered.
    """

    def refuse(what: str, do: str) -> DictionaryError:
        return DictionaryError(f"{where}: {what}. {do}")

    flat = {
        _OLD_NAMES.get(key, key): value for key, value in {**given, **(overrides or {})}.items()
    }
    stored = flat.get("metadata")
    metadata: dict[str, Any] = dict(stored) if isinstance(stored, dict) else {}
    modern = isinstance(stored, dict)
    metadata |= {
        key: flat[key]
        for key in _METADATA & flat.keys()
        if metadata.get(key) is None or key in (overrides or {})
    }

    architecture = flat.get("architecture") or "standard"
    activation = flat.get("activation_fn") or "relu"
    k = flat.get("k")
    if activation == "topk":
        architecture = "topk"
        k = (flat.get("activation_fn_kwargs") or {}).get("k", k)
    elif activation != "relu":
        raise refuse(
            f"the activation function {activation!r} is not covered (relu and topk are)",
            "SAELens 6 reads such a file as relu without saying so; convert it by hand.",
        )
    if architecture not in COVERED:
        raise refuse(
            f"the architecture {architecture!r} is not covered here ({', '.join(COVERED)} are)",
            "With SAELens installed beside TransformerLens 3, load it there and pass it to "
            "tl_ext.dictionaries.saelens.from_saelens.",
        )
    unknown = sorted(
        key
        for key in flat.keys() - _READ - _TRAINING - _METADATA - _OLD_NAMES.keys()
        if modern and flat[key] not in (None, False)
    )
    unknown = [key for key in unknown if key not in ("activation_fn", "activation_fn_kwargs")]
    if unknown:
        raise refuse(
            f"unknown settings {unknown} may change the arithmetic",
            "If they do not, delete them from the file; else load it with SAELens and from_saelens.",
        )
    if flat.get("is_transcoder") and architecture not in TRANSCODERS:
        raise refuse(
            "it is a transcoder in a spelling that is not covered",
            f"Name its architecture: {', '.join(TRANSCODERS)}.",
        )
    if metadata.get("hook_head_index") is not None:
        raise refuse(
            f"it reads the single head {metadata['hook_head_index']}, which is not covered",
            "Dictionaries at hook_z must read all heads side by side.",
        )
    hook_in = metadata.get("hook_name")
    if not isinstance(hook_in, str) or not hook_in:
        raise refuse(
            "it names no hook point", 'Add "hook_name": "blocks.3.hook_resid_pre" to its metadata.'
        )
    transcoder = architecture in TRANSCODERS
    hook_out = metadata.get("hook_name_out") if transcoder else hook_in
    if not isinstance(hook_out, str) or not hook_out:
        raise refuse(
            "it is a transcoder and names no hook point to reconstruct",
            'Add "hook_name_out": "blocks.3.hook_mlp_out" to its metadata.',
        )
    d_in, d_latent = _width(flat, "d_in", refuse), _width(flat, "d_sae", refuse)
    if architecture == "topk":
        k = 100 if k is None else k
        if not isinstance(k, int) or not 0 < k <= d_latent:
            raise refuse(f"k is {k!r}, of {d_latent} latents", "k is a count of active latents.")
    centres = bool(flat.get("apply_b_dec_to_input", not transcoder))
    if transcoder and centres:
        raise refuse(
            "apply_b_dec_to_input is set on a transcoder", "Its b_dec is not as wide as its input."
        )
    return Config(
        where=where,
        architecture=architecture,
        hook_in=hook_in,
        hook_out=hook_out,
        d_in=d_in,
        d_out=_width(flat, "d_out", refuse) if transcoder else d_in,
        d_latent=d_latent,
        k=k if architecture == "topk" else None,
        ranks_by_norm=bool(flat.get("rescale_acts_by_decoder_norm", False))
        and "topk" in architecture,
        centres_input=centres,
        normalisation=_normalisation(flat.get("normalize_activations"), refuse),
        metadata=MappingProxyType(metadata),
    )


def read_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Read the weights of one dictionary, names and shapes checked before anything large is read.

    Args:
        path: A safetensors file.
        shapes: The tensors there must be.
        device: Where to put them.
        dtype: What to turn them into.

    Raises:
        DictionaryError: No such file, a damaged one, missing or unknown tensors, other shapes, NaN or
            infinity.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        others = sorted(
            other.name
            for pattern in ("*.pt", "*.bin", "*.npz")
            for other in path.parent.glob(pattern)
        )
        raise DictionaryError(
            f"{path.parent} is no complete dictionary: it has no {path.name}."
            + (f" {', '.join(others)} there is not read: only safetensors are." if others else "")
            + " Copy or save it again."
        )
    try:
        with safe_open(path, framework="pt", device=str(as_device(device))) as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            spelled = _spellings(path, found, shapes)
            tensors = {name: file.get_tensor(stored).to(dtype) for name, stored in spelled.items()}
            scale = file.get_tensor("scaling_factor") if "scaling_factor" in found else None
    except (SafetensorError, OSError) as damage:
        raise DictionaryError(
            f"{path} is damaged or cut short ({damage}). Copy or save it again."
        ) from damage
    if scale is not None and not torch.allclose(scale.float(), torch.ones(())):
        raise DictionaryError(
            f"{path} holds a finetuning scaling_factor, which is not covered (nor is it by SAELens 6). "
            "Multiply W_dec's rows by it and delete it."
        )
    check_finite(tensors, where=str(path))
    if "log_threshold" in spelled.values():
        tensors["threshold"] = tensors["threshold"].exp()
    return tensors


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raise a DictionaryError where a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        good = torch.isfinite(tensor)
        if not good.all():
            raise DictionaryError(
                f"{where}: {name} holds {int((~good).sum())} numbers of {good.numel()} that are NaN or "
                "infinite (a training that diverged, or a damaged copy). Copy or train it again."
            )


def build(
    config: Config,
    tensors: Mapping[str, Tensor],
    *,
    id: str | None = None,
    release: str | None = None,
    scaling_factor: float | None = None,
) -> SparseDictionary:
    """A dictionary from its configuration and weights, which are shared where they need no folding.

    Args:
        config: Its configuration.
        tensors: Its weights, under the names of `config.shapes`.
        id: Its id; the hook point where None.
        release: The published release it comes from.
        scaling_factor: What `expected_average_only_in` multiplied activations with.

    Raises:
        DictionaryError: `expected_average_only_in` without its factor.
    """
    weights = dict(tensors)
    normalisation = config.normalisation
    if normalisation == "expected_average_only_in":
        if scaling_factor is None:
            raise DictionaryError(
                f"{config.where}: it was trained on activations multiplied by a constant "
                "(expected_average_only_in) that nothing states; SAELens would leave it out without "
                f'saying so. Put {{"scaling_factor": ...}} into {SCALER} beside it, or, if the '
                'constant is folded into the weights already, set normalize_activations to "none".'
            )
        weights["W_enc"] = weights["W_enc"] * scaling_factor
        weights["W_dec"] = weights["W_dec"] / scaling_factor
        weights["b_dec"] = weights["b_dec"] / scaling_factor
        if config.ranks_by_norm and "topk_threshold" in weights:
            weights["topk_threshold"] = weights["topk_threshold"] / scaling_factor
        normalisation = "none"
    norms = None
    if config.ranks_by_norm:
        norms = weights["W_dec"].norm(dim=-1)
        weights["W_dec"] = weights["W_dec"] / norms.clamp(min=1e-8)[:, None]
    return SparseDictionary(
        id=config.hook_in if id is None else id,
        architecture=config.architecture,
        hook_in=config.hook_in,
        hook_out=config.hook_out,
        W_enc=weights["W_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=_activation(config, weights, norms),
        normalisation=normalisation,
        restores=config.architecture not in TRANSCODERS,
        centres_input=config.centres_input,
        W_skip=weights.get("W_skip"),
        processing=config.processing,
        release=release,
        neuronpedia_id=config.metadata.get("neuronpedia_id"),
        metadata=config.metadata,
    )


def processing_in(
    metadata: Mapping[str, Any], hook_point: str, *, where: str = "metadata"
) -> Processing | None:
    """The weight processing that a dictionary's metadata states.

    SAELens states it by the arguments it loads a HookedTransformer with (`from_pretrained_no_processing`
    and these on top). Of the published releases only those trained on HookedTransformer's full default
    processing say `center_writing_weights`, and at the residual stream nothing else makes a difference,
    so that is `Processing.COMPATIBILITY`. A key `processing` (`"raw"`, `"compatibility"` or the
    switches) overrides this; it is ours and SAELens carries it along.

    Args:
        metadata: The dictionary's metadata.
        hook_point: What it reads.
        where: The file, for messages.

    Returns:
        The processing, or None where the metadata does not say.

    Raises:
        DictionaryError: A `processing` that is neither of these.
    """
    switches = {one.name for one in fields(Processing)}
    stated = metadata.get("processing")
    if isinstance(stated, str) and stated.lower() in ("raw", "compatibility"):
        return Processing.RAW if stated.lower() == "raw" else Processing.COMPATIBILITY
    if isinstance(stated, Mapping) and stated.keys() <= switches:
        return replace(Processing.RAW, **stated)
    if stated is not None:
        raise DictionaryError(
            f'{where}: processing is {stated!r}; "raw", "compatibility" or an object of '
            f"{sorted(switches)} is expected."
        )
    arguments = metadata.get("model_from_pretrained_kwargs")
    if not isinstance(arguments, Mapping):
        return None
    if arguments.get("center_writing_weights") and kind_of(hook_point) in RESIDUAL_KINDS:
        return Processing.COMPATIBILITY
    return Processing(
        fold_layer_norm=bool(arguments.get("fold_ln")),
        center_writing_weights=bool(arguments.get("center_writing_weights")),
        center_unembed=bool(arguments.get("center_unembed")),
        fold_value_biases=bool(arguments.get("fold_value_biases")),
    )


def dictionary_folders(root: Path) -> list[Path]:
    """The folders below `root` that hold a dictionary or a part of one, `root` itself included.

    Raises:
        DictionaryError: There is no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DictionaryError(f"There is no folder {root} to read dictionaries from.")
    if (root / CONFIG).exists() or (root / WEIGHTS).exists():
        return [root]
    found = {
        path.parent
        for name in (CONFIG, WEIGHTS)
        for path in root.rglob(name)
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    if not found:
        raise DictionaryError(
            f"{root} holds no dictionaries: a folder with {CONFIG} and {WEIGHTS}, or a folder of such "
            "folders, as SAELens saves them, is expected."
        )
    return sorted(found)


def _activation(config: Config, weights: Mapping[str, Tensor], norms: Tensor | None) -> Activation:
    if config.architecture == "gated":
        return Gated(weights["b_gate"], weights["b_mag"], weights["r_mag"])
    if config.architecture == "topk":
        assert config.k is not None
        return TopK(weights["b_enc"], config.k, norms)
    if "batchtopk" in config.architecture:
        # A training checkpoint; SAELens itself saves it as this for inference.
        threshold = weights["topk_threshold"].expand(config.d_latent)
        return JumpReLU(weights["b_enc"], threshold, norms)
    if "jumprelu" in config.architecture:
        return JumpReLU(weights["b_enc"], weights["threshold"])
    return ReLU(weights["b_enc"])


def _spellings(
    path: Path, found: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """For each tensor needed, the name it is stored under; everything checked."""
    spelled = {name: name for name in shapes}
    if "threshold" in shapes and "threshold" not in found and "log_threshold" in found:
        spelled["threshold"] = "log_threshold"
    missing = [name for name in spelled.values() if name not in found]
    if missing:
        raise DictionaryError(
            f"{path} lacks {', '.join(missing)} (it has {', '.join(sorted(found)) or 'nothing'}). "
            f"Either the copy is partial or {CONFIG} names another architecture."
        )
    unknown = sorted(found.keys() - set(spelled.values()) - {"scaling_factor"})
    if unknown:
        raise DictionaryError(
            f"{path} holds tensors that its architecture does not have: {', '.join(unknown)}. "
            f"See whether {CONFIG} names the right one."
        )
    for name, stored in spelled.items():
        if found[stored] != shapes[name]:
            raise DictionaryError(
                f"{path}: {stored} has shape {found[stored]}; {CONFIG} beside it makes it "
                f"{shapes[name]}. Weights and configuration are of different dictionaries."
            )
    return spelled


def _scaling_factor(folder: Path) -> float | None:
    path = folder / SCALER
    if not path.is_file():
        return None
    try:
        factor = json.loads(path.read_text(encoding="utf-8"))["scaling_factor"]
    except (OSError, ValueError, KeyError, TypeError) as damage:
        raise DictionaryError(
            f'{path} cannot be read ({damage!r}); {{"scaling_factor": number}} is expected.'
        ) from damage
    return None if factor is None else float(factor)


def _normalisation(given: Any, refuse: Any) -> Normalisation:
    if given is None or given is False:
        return "none"
    if given is True:
        return "expected_average_only_in"
    for known in get_args(Normalisation):
        if given == known:
            return known  # type: ignore[no-any-return]
    raise refuse(
        f"normalize_activations {given!r} is not covered ({', '.join(get_args(Normalisation))} are)",
        "SAELens folds covariance_whitening into the weights when training ends; save it then.",
    )


def _width(flat: Mapping[str, Any], name: str, refuse: Any) -> int:
    value = flat.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(f"{name} is {value!r}", "A whole number above 0 is expected.")
    return value


def unique_ids(hook_points: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Ids of dictionaries in one collection: the hook point where only one reads it, else the path."""
    points = list(hook_points)
    return [
        point if points.count(point) == 1 or not path else path
        for point, path in zip(points, paths, strict=True)
    ]
