"""Find dictionaries by source: a release, a folder, the ones shipped with this package, a plugin's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from tl_ext.dictionaries import folders
from tl_ext.dictionaries.dictionary import (
    Dictionaries,
    Dictionary,
    UnknownDictionaryError,
    forward_order,
    renamed,
)
from tl_ext.errors import DictionaryError, InputError, nearest
from tl_ext.models.hook_points import names
from tl_ext.models.loading import TESTBED_NAMES, Processing
from tl_ext.plugins.manager import build_manager, resolve


def load_dictionaries(
    *sources: str | Path,
    hook_points: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    device: str | torch.device | None = None,
) -> Dictionaries:
    """Load dictionaries, from several sources if need be.

    Args:
        sources: Each `saelens://RELEASE`, `saelens://OWNER/NAME` (a hub repository in SAELens'
            format), `testbed://`, a plugin's `scheme://...`, or a local folder that SAELens saved: one
            dictionary's or a folder of such folders.
        hook_points: Only the dictionaries that read these; where a source has several at one of them,
            `ids` must choose.
        ids: Only the dictionaries with these ids.
        device: Where to put the weights; the CPU where None.

    Returns:
        The dictionaries by id, sources in the order given. An id is a hook point where one dictionary
        of the source reads it, else its path or the release's own id; where two sources have the same
        id, each gets its source before it, as in `gpt2-small-res-jb/blocks.0.hook_resid_pre`.

    Raises:
        DictionaryError: No such source, nothing found, an id or a hook point that no source has (the
            nearest are told), a hook point with several dictionaries (their ids are told), or a
            damaged file.
        InputError: No source.
    """
    if not sources:
        raise InputError(
            "There is no source to load from. Give 'testbed://', 'saelens://RELEASE' or a folder."
        )
    points = None if hook_points is None else names(hook_points)
    wanted = None if ids is None else names(ids)
    groups: list[tuple[str, list[Dictionary]]] = []
    misses: list[UnknownDictionaryError] = []
    for source in sources:
        try:
            found = _open(source, points, wanted, device)
        except UnknownDictionaryError as miss:
            # Another source may have it; what none has is told below.
            misses.append(miss)
            continue
        groups.append((_short(source), _chosen(source, found, points, wanted)))
    everything = [one for _, group in groups for one in group]
    for asked, had in (
        (points, [one.hook_in for one in everything]),
        (wanted, [one.id for one in everything]),
    ):
        lacking = [name for name in asked or () if name not in had]
        if lacking and len(sources) == 1 and misses:
            raise misses[0]
        if lacking:
            told = " ".join(str(miss) for miss in misses)
            raise UnknownDictionaryError(
                f"None of {', '.join(map(str, sources))} has a dictionary {', '.join(lacking)}."
                f"{nearest(lacking[0], had)} {told}".strip()
            )
    if misses and not everything:
        raise misses[0]
    counts = Counter(one.id for one in everything)
    return Dictionaries(
        renamed(one, f"{name}/{one.id}") if counts[one.id] > 1 else one
        for name, group in groups
        for one in group
    )


def open_folder(
    rest: str,
    *,
    hook_points: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Dictionary]:
    """Open a folder that SAELens saved, or a folder of such folders.

    Args:
        rest: The folder.
        hook_points: Read only what reads these.
        ids: Read only these, by id or by path within the folder.
        device: Where to put the weights.

    Returns:
        The dictionaries in the order a forward pass reaches their hook points.

    Raises:
        DictionaryError: No folder, no dictionaries in it, nothing that was asked for, or one of them is
            damaged or not covered; the message names the file.
    """
    root = Path(rest).expanduser()
    places = folders.dictionary_folders(root)
    paths = ["" if place == root else place.relative_to(root).as_posix() for place in places]
    configs = [folders.read_config(place) for place in places]
    known = folders.unique_ids((config.hook_in for config in configs), paths)
    points = None if hook_points is None else set(names(hook_points))
    wanted = None if ids is None else set(names(ids))
    order = sorted(
        range(len(places)), key=lambda index: forward_order(configs[index].hook_in, paths[index])
    )
    chosen = [
        index
        for index in order
        if (points is None or configs[index].hook_in in points)
        and (wanted is None or known[index] in wanted or paths[index] in wanted)
    ]
    if not chosen:
        asked = sorted((wanted or set()) | (points or set()))
        have = [known[index] for index in order]
        raise UnknownDictionaryError(
            f"{root} has no dictionary {', '.join(asked)}.{nearest(asked[0], have)} "
            f"It has {', '.join(have[:20])}{' and more' if len(have) > 20 else ''}."
        )
    return [
        folders.read_folder(
            places[index],
            id=paths[index] if wanted is not None and paths[index] in wanted else known[index],
            device=device,
        )
        for index in chosen
    ]


def open_testbed(
    rest: str = "",
    *,
    hook_points: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Dictionary]:
    """Open the dictionaries shipped with this package, made for `load_model("testbed")`.

    Stored as float16, computed in float32. They were trained on the model as it is, so where their
    files do not say so, their processing is `Processing.RAW`.

    Args:
        rest: Nothing.
        hook_points: Read only what reads these.
        ids: Read only these.
        device: Where to put the weights.

    Raises:
        DictionaryError: `rest` is not empty, nothing matches, or the installed package lacks its
            weights.
    """
    if rest.strip("/"):
        raise DictionaryError(
            f"testbed://{rest}: there is one testbed; choose among its dictionaries by hook_points or "
            "ids."
        )
    # By name and not by import: the testbed stands above this room.
    folder = Path(str(files("tl_ext") / "testbed" / "weights" / "dictionaries"))
    if not folder.is_dir():
        raise DictionaryError(
            f"The shipped dictionaries are not where they belong ({folder}). Install tl-ext again, or "
            "build them: tl-ext testbed build --pairs FILE."
        )
    found = open_folder(str(folder), hook_points=hook_points, ids=ids, device=device)
    return [_stating_raw(one) for one in found]


def _open(
    source: str | Path,
    hook_points: tuple[str, ...] | None,
    ids: tuple[str, ...] | None,
    device: str | torch.device | None,
) -> list[Dictionary]:
    text = str(source)
    if text in TESTBED_NAMES:
        text = "testbed://"
    scheme, colon, rest = text.partition("://")
    if isinstance(source, Path) or not colon:
        scheme, rest = "folder", text
        if not Path(rest).expanduser().exists():
            raise DictionaryError(
                f"There is no folder {rest}. A release is given as saelens://{rest}, the shipped "
                "dictionaries as testbed://."
            )
    spec = build_manager().dictionary_sources()[scheme.lower()]
    found: Iterable[Dictionary] = resolve(spec.open)(
        rest, hook_points=hook_points, ids=ids, device=device
    )
    opened = list(found)
    if not opened and hook_points is None and ids is None:
        raise DictionaryError(f"{text} holds no dictionaries.")
    return opened


def _chosen(
    source: str | Path,
    found: list[Dictionary],
    hook_points: tuple[str, ...] | None,
    ids: tuple[str, ...] | None,
) -> list[Dictionary]:
    """What was asked for, whatever the source made of the request."""
    found = [
        one
        for one in found
        if (hook_points is None or one.hook_in in hook_points) and (ids is None or one.id in ids)
    ]
    if hook_points is not None and ids is None:
        for point in hook_points:
            same = [one.id for one in found if one.hook_in == point]
            if len(same) > 1:
                raise DictionaryError(
                    f"{source} has {len(same)} dictionaries at {point}: {', '.join(same[:20])}"
                    f"{' and more' if len(same) > 20 else ''}. Choose by ids."
                )
    return found


def _short(source: str | Path) -> str:
    text = str(source)
    scheme, colon, rest = text.partition("://")
    name = rest if colon else text
    return name.strip("/") if scheme == "saelens" else Path(name).name or scheme


def _stating_raw(dictionary: Dictionary) -> Dictionary:
    given: Any = dictionary
    if given.processing is None:
        given = replace(given, processing=Processing.RAW)
    stated: Dictionary = given
    return stated
