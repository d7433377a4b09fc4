"""SAELens' releases and SAELens' own objects.

A release whose files are in SAELens' folder format is fetched and read here, without importing
sae_lens, which beside TransformerLens 4 needs a fix; only its list of releases is read, as a file. All
other formats go through SAELens' converters, and architectures that are not computed here through a
wrapper of its own classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import util
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext import upstream
from tl_ext.dictionaries import folders
from tl_ext.dictionaries.dictionary import (
    Dictionary,
    Normalisation,
    Statistics,
    UnknownDictionaryError,
    as_device,
)
from tl_ext.dictionaries.sparse import normalise, scale_and_shift
from tl_ext.errors import DictionaryError, InputError, nearest
from tl_ext.models.hook_points import names
from tl_ext.models.loading import Processing

if TYPE_CHECKING:
    from sae_lens import SAE

WITHOUT_CONTEXT = (*folders.COVERED, "abstopk", "matching_pursuit")
"""Architectures that encode each row by itself; any other is given whole sequences."""


class UnreachableError(DictionaryError):
    """A release that could not be fetched: no network, an unknown repository, or offline mode."""


@dataclass(frozen=True)
class Release:
    """One entry of SAELens' list of releases.

    Attributes:
        name: The release's name.
        repository: Where it lies on the Hugging Face hub.
        converter: The name of SAELens' converter; None for its own folder format.
        paths: For each id the path in the repository.
        neuronpedia: For each id its name on Neuronpedia, where it has one.
        scaling_factors: For each id the constant of `expected_average_only_in`, where stated.
        overrides: Configuration the release states and its files do not.
    """

    name: str
    repository: str
    converter: str | None
    paths: Mapping[str, str]
    neuronpedia: Mapping[str, str]
    scaling_factors: Mapping[str, float]
    overrides: Mapping[str, Any]


def open_release(
    rest: str,
    *,
    hook_points: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Dictionary]:
    """Open `saelens://RELEASE`, or `saelens://OWNER/NAME` for a hub repository in SAELens' format.

    Args:
        rest: The release's name, what follows `saelens://`.
        hook_points: Fetch only what reads these.
        ids: Fetch only these, by the ids SAELens lists.
        device: Where to put the weights; the CPU where None.

    Returns:
        The dictionaries in the order the release lists them.

    Raises:
        UnreachableError: Something could not be fetched from the hub.
        DictionaryError: There is no such release, SAELens is needed and absent, nothing of the release
            matches, or a file is damaged.
    """
    release = find_release(rest.strip("/"))
    wanted = None if ids is None else set(names(ids))
    points = None if hook_points is None else set(names(hook_points))
    chosen = [id for id in release.paths if wanted is None or id in wanted]
    if not chosen:
        raise UnknownDictionaryError(
            f"{release.name} has no dictionary {', '.join(sorted(wanted or ()))}."
            f"{nearest(next(iter(sorted(wanted or ())), ''), release.paths)} "
            f"It has {len(release.paths)}, such as {', '.join(list(release.paths)[:5])}."
        )
    if points is not None:
        by_name = [id for id in chosen if id in points]
        chosen = by_name if len(by_name) == len(points) else _reading(release, chosen, points)
        if not chosen:
            first = sorted(points)[0]
            raise UnknownDictionaryError(
                f"{release.name} has no dictionary that reads {', '.join(sorted(points))}."
                f"{nearest(first, release.paths)} Its ids: {', '.join(list(release.paths)[:12])}."
            )
    load = _load_folder if release.converter is None else _load_converted
    return [load(release, id, device) for id in chosen]


def find_release(name: str) -> Release:
    """A release by name, or a hub repository `OWNER/NAME` that holds SAELens' folders.

    Raises:
        DictionaryError: There is no such release, or no list of releases to look in.
    """
    listed = _listed_releases()
    if name in listed:
        return _release(name, listed[name])
    if name.count("/") == 1:
        found = _repository_folders(name)
        return Release(name, name, None, found, {}, {}, {})
    if not listed:
        raise DictionaryError(
            f"saelens://{name} needs SAELens' list of releases, and SAELens is not installed. "
            "Install tl-ext[sae] (the TransformerLens 3 line), or beside TransformerLens 4 "
            "tl-ext[sae-deps] and then `pip install --no-deps sae-lens`. A hub repository in SAELens' "
            "format needs neither: saelens://OWNER/NAME."
        )
    raise UnknownDictionaryError(
        f"SAELens lists no release {name!r}.{nearest(name, listed)} It lists {len(listed)}; a hub "
        "repository that it does not list is given as saelens://OWNER/NAME."
    )


def from_saelens(sae: SAE[Any], *, id: str | None = None, release: str | None = None) -> Dictionary:
    """A dictionary from an SAE or transcoder that SAELens holds in memory.

    Architectures computed here share its weights (so further training of `sae` shows); the others are
    wrapped. `sae` itself is never changed.

    Args:
        sae: An inference or training object of SAELens.
        id: Its id; the hook point where None.
        release: The published release it comes from.

    Raises:
        DictionaryError: Its weights hold NaN or infinity, or it names no hook point.
    """
    stated = sae.cfg.to_dict()
    where = f"SAELens {type(sae).__name__}"
    state = {name: tensor.detach() for name, tensor in sae.state_dict().items()}
    if stated["architecture"] in folders.COVERED:
        config = folders.parse_config(stated, where=where)
        folders.check_finite(state, where=where)
        lacking = sorted(config.shapes.keys() - state.keys())
        if lacking:
            raise DictionaryError(
                f"{where} calls itself {config.architecture} and lacks {', '.join(lacking)}. "
                "Save it with SAELens and load the folder."
            )
        if "topk_threshold" in state:
            state["topk_threshold"] = state["topk_threshold"].to(state["W_dec"].dtype)
        return folders.build(config, state, id=id, release=release)
    folders.check_finite(state, where=where)
    return _wrap(sae, stated, id=id, release=release, where=where)


@dataclass(frozen=True, eq=False, repr=False)
class SaelensDictionary:
    """A dictionary that SAELens computes: matching pursuit, temporal, abstopk, and whatever is added.

    Works on a shallow copy of SAELens' object that shares its weights and leaves normalisation and
    head axes to us, since SAELens keeps the statistics of the last input as state.

    Attributes:
        id: Its name among the dictionaries loaded with it.
        architecture: What SAELens calls it.
        hook_in: The hook point it reads.
        hook_out: The hook point it reconstructs.
        sae: SAELens' object.
        normalisation: How the input is scaled.
        needs_context: Whether it must be given whole sequences.
        processing: The weight processing of the model it was trained on; None: not known.
        release: The published release it comes from.
        neuronpedia_id: Its name on Neuronpedia.
        metadata: Everything else its configuration says.
    """

    id: str
    architecture: str
    hook_in: str
    hook_out: str
    sae: Any
    normalisation: Normalisation
    needs_context: bool
    processing: Processing | None = None
    release: str | None = None
    neuronpedia_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        return int(self.sae.cfg.d_in)

    @property
    def d_latent(self) -> int:
        """How many latents it has."""
        return int(self.sae.cfg.d_sae)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        dtype: torch.dtype = self.sae.W_dec.dtype
        return dtype

    @property
    def directions(self) -> Float[Tensor, "d_latent d_out"]:
        """What one unit of each latent adds in the dictionary's own space."""
        W_dec: Tensor = self.sae.W_dec.detach()
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            return torch.nn.functional.normalize(W_dec, dim=-1, eps=1e-8)
        return W_dec

    @property
    def bias(self) -> Float[Tensor, " d_out"]:
        """The reconstruction of no latents."""
        none = torch.zeros(1, self.d_latent, dtype=self.dtype, device=self.sae.W_dec.device)
        return self._decode(none)[0]

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]:
        """Latents of activations; whole sequences where `needs_context`.

        Raises:
            InputError: Rows of another width.
        """
        latents: Tensor = self.sae.encode(self._sequences(self._normalised(x)))
        return latents.to_dense().reshape(*x.shape[:-1], self.d_latent).to(x.dtype)

    @torch.no_grad()
    def statistics(self, x: Float[Tensor, "*row d_in"]) -> Statistics | None:
        """What `decode` needs to know of the input; None where it needs nothing."""
        rows = self._rows(x)
        scale, shift = scale_and_shift(rows, self.normalisation)
        if self.architecture == "temporal":
            # What attention over earlier rows predicts goes past the latents.
            _, predicted = self.sae.encode_with_predictions(self._sequences(self._normalised(x)))
            carried = (predicted @ self.sae.W_dec).reshape(rows.shape)
            carried = carried if scale is None else carried * scale
            shift = carried if shift is None else shift + carried
        return None if scale is None and shift is None else Statistics(scale, shift)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "*row d_latent"], statistics: Statistics | None = None
    ) -> Float[Tensor, "*row d_out"]:
        """The reconstruction, affine in `latents`.

        Raises:
            DictionaryError: It depends on the input's statistics and there are none.
        """
        if statistics is None and (
            self.architecture == "temporal"
            or self.normalisation in ("layer_norm", "constant_norm_rescale")
        ):
            raise DictionaryError(
                f"{self.id} ({self.architecture}, {self.normalisation}) cannot decode from latents "
                "alone: pass statistics=dictionary.statistics(x), or NORMALISED to stay in its own "
                "space."
            )
        out = self._decode(latents.to(self.dtype))
        return (out if statistics is None else statistics.restore(out)).to(latents.dtype)

    def reconstruct(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_out"]:
        """`decode(encode(x), statistics(x))`."""
        return self.decode(self.encode(x), self.statistics(x))

    def _decode(self, latents: Tensor) -> Tensor:
        if self.architecture != "temporal":
            decoded: Tensor = self.sae.decode(latents)
            return decoded.detach()
        # SAELens' own decode logs a warning a call that the predicted part is missing.
        out: Tensor = latents @ self.sae.W_dec.detach()
        if not self.sae.cfg.tied_weights or self.sae.cfg.apply_b_dec_to_input:
            out = out + self.sae.b_dec.detach()
        return out

    def _rows(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.d_in:
            raise InputError(
                f"{self.id} reads rows of width {self.d_in} ({self.hook_in}, head axes flattened); "
                f"a tensor of shape {tuple(x.shape)} was given."
            )
        return x.to(self.dtype)

    def _normalised(self, x: Tensor) -> Tensor:
        return normalise(self._rows(x), self.normalisation)

    def _sequences(self, rows: Tensor) -> Tensor:
        """`[text token d_in]`, which is what dictionaries with context take."""
        return rows.reshape(-1, *rows.shape[-2:]) if rows.ndim > 1 else rows[None, None]

    def __repr__(self) -> str:
        return (
            f"SaelensDictionary({self.id!r}: {self.architecture}, {self.hook_in}, {self.d_in} -> "
            f"{self.d_latent} latents)"
        )


def _wrap(
    sae: Any, stated: Mapping[str, Any], *, id: str | None, release: str | None, where: str
) -> SaelensDictionary:
    metadata = dict(stated["metadata"])
    hook_in = metadata.get("hook_name")
    if not hook_in:
        raise DictionaryError(f"{where} names no hook point. Set sae.cfg.metadata.hook_name.")
    known: tuple[Normalisation, ...] = ("none", "constant_norm_rescale", "layer_norm")
    normalisation = stated["normalize_activations"]
    twin = copy.copy(sae)
    if normalisation in known[1:]:
        twin.run_time_activation_norm_fn_in = _same
        twin.run_time_activation_norm_fn_out = _same
    elif normalisation == "constant_scalar_rescale":
        # A constant without state, which SAELens applies on both sides: left to it.
        normalisation = "none"
    elif normalisation != "none":
        raise DictionaryError(
            f"{where}: normalize_activations {normalisation!r} is not folded into its weights. "
            "Call fold_activation_norm_scaling_factor on it first."
        )
    twin.turn_off_forward_pass_hook_z_reshaping()
    return SaelensDictionary(
        id=hook_in if id is None else id,
        architecture=stated["architecture"],
        hook_in=hook_in,
        hook_out=metadata.get("hook_name_out") or hook_in,
        sae=twin,
        normalisation=normalisation,
        needs_context=stated["architecture"] not in WITHOUT_CONTEXT,
        processing=folders.processing_in(metadata, hook_in, where=where),
        release=release,
        neuronpedia_id=metadata.get("neuronpedia_id"),
        metadata=MappingProxyType(metadata),
    )


def _same(x: Tensor) -> Tensor:
    return x


@cache
def _listed_releases() -> Mapping[str, Any]:
    """SAELens' list of releases, read as a file; empty where SAELens is not installed."""
    spec = util.find_spec("sae_lens")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    path = next((Path(place) / "pretrained_saes.yaml" for place in places), None)
    if path is None or not path.is_file():
        return {}
    import yaml

    # libyaml's loader is five times as fast and not in every build.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as file:
        listed: Mapping[str, Any] = yaml.load(file, Loader=loader)
    return listed


def _release(name: str, entry: Mapping[str, Any]) -> Release:
    each = entry["saes"]
    return Release(
        name=name,
        repository=entry["repo_id"],
        converter=entry.get("conversion_func"),
        paths={str(one["id"]): str(one["path"]) for one in each},
        neuronpedia={str(one["id"]): one["neuronpedia"] for one in each if one.get("neuronpedia")},
        scaling_factors={
            str(one["id"]): float(one["norm_scaling_factor"])
            for one in each
            if "norm_scaling_factor" in one
        },
        overrides=entry.get("config_overrides") or {},
    )


def _reading(release: Release, ids: list[str], points: set[str]) -> list[str]:
    """The ids whose configuration names one of these hook points."""
    return [id for id in ids if id in points or _hook_in(release, id) in points]


def _hook_in(release: Release, id: str) -> str | None:
    if release.converter is None:
        return folders.read_config(
            _fetch(release, id, folders.CONFIG).parent, overrides=release.overrides
        ).hook_in
    _need_saelens(release)
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    with _Reaching(release, id):
        stated = load_sae_config_from_huggingface(release.name, id)
    found = stated.get("hook_name") or (stated.get("metadata") or {}).get("hook_name")
    return None if found is None else str(found)


def _load_folder(release: Release, id: str, device: str | torch.device | None) -> Dictionary:
    folder = _fetch(release, id, folders.CONFIG).parent
    config = folders.read_config(folder, overrides=release.overrides)
    weights = _fetch(release, id, folders.WEIGHTS)
    tensors = folders.read_tensors(weights, config.shapes, device=device)
    dictionary = folders.build(
        config, tensors, id=id, release=release.name, scaling_factor=release.scaling_factors.get(id)
    )
    return replace(
        dictionary, neuronpedia_id=release.neuronpedia.get(id, dictionary.neuronpedia_id)
    )


def _load_converted(release: Release, id: str, device: str | torch.device | None) -> Dictionary:
    _need_saelens(release)
    from sae_lens import SAE

    with _Reaching(release, id):
        sae, _, _ = SAE.from_pretrained_with_cfg_and_sparsity(
            release.name, id, device=str(as_device(device))
        )
    return from_saelens(sae, id=id, release=release.name)


def _need_saelens(release: Release) -> None:
    if not upstream.saelens_usable():
        raise DictionaryError(
            f"{release.name} is stored in the format {release.converter!r}, which SAELens alone "
            "converts, and SAELens cannot be imported here. Beside TransformerLens 4 install its needs, "
            "tl-ext[sae-deps], and sae-lens itself without them (pip install --no-deps sae-lens), and "
            "apply the fix no-import-beside-transformerlens-4 before anything imports it; or load it "
            "with SAELens beside TransformerLens 3, tl-ext[sae], save_model(folder), and read that "
            "folder here."
        )


def _fetch(release: Release, id: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    path = release.paths[id]
    with _Reaching(release, id):
        return Path(
            hf_hub_download(release.repository, file if path in ("", ".") else f"{path}/{file}")
        )


def _repository_folders(repository: str) -> dict[str, str]:
    """Every folder of a hub repository that holds a dictionary, in natural order."""
    from huggingface_hub import HfApi

    from tl_ext.dictionaries.dictionary import forward_order

    with _Reaching(Release(repository, repository, None, {}, {}, {}, {}), "its list of files"):
        files = HfApi().list_repo_files(repository)
    found = [
        file.removesuffix(folders.CONFIG).rstrip("/")
        for file in files
        if file.rsplit("/", 1)[-1] == folders.CONFIG
    ]
    if not found:
        raise DictionaryError(
            f"The hub repository {repository} holds no {folders.CONFIG}: it is not in SAELens' format."
        )
    ordered = sorted(found, key=lambda path: forward_order(path, path))
    return {path or ".": path or "." for path in ordered}


class _Reaching:
    """Turn whatever the hub's client raises into an error that says what was not reached."""

    def __init__(self, release: Release, id: str) -> None:
        self.what = f"{release.name} / {id}"
        self.repository = release.repository

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from huggingface_hub import errors

        # The client's own HTTP error is imported there from whichever library it stands on.
        http: type[Exception] = vars(errors).get("HTTPError", OSError)
        trouble = (OSError, http, errors.EntryNotFoundError, errors.HFValidationError)
        if isinstance(error, trouble):
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise UnreachableError(
                f"{self.what} could not be fetched from {self.repository} on the Hugging Face hub: "
                f"{reason} Check the network, HF_HUB_OFFLINE and the name, or give a local folder."
            ) from error
