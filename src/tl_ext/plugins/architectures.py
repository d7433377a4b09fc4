"""Which architectures plugins bring, and what was verified, against what, on which versions.

That a verification held on some versions is never written by hand: running its test module records it
in a `verified.json` inside the package of the plugin that states it, as `{test module: [record, ...]}`,
each record a version by distribution name and how many tests passed. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from tl_ext.errors import PluginError
from tl_ext.plugins.manager import PluginManager, build_manager
from tl_ext.plugins.specs import AdapterSpec, Against, Family

RECORDS = "verified.json"
COMPARED = ("transformer-lens", "transformers")
"""A verification holds on the versions of these; records hold others too, for the reader."""

UPSTREAM_GROUP = "transformer_lens.architectures"


@dataclass(frozen=True)
class Verified:
    """A verification, and the versions it held on.

    Attributes:
        against: What was compared with.
        what: What was compared, and how closely.
        test: The test module that shows it.
        on: The versions it was recorded on, by distribution name, with the number of `tests` passed.
        here: Whether the installed versions are among these.
    """

    against: Against
    what: str
    test: str
    on: tuple[Mapping[str, Any], ...]
    here: bool

    def __str__(self) -> str:
        held = "; ".join(
            ", ".join(f"{name} {one.get(name)}" for name in COMPARED) for one in self.on
        )
        here = "" if self.here else "NOT on these versions, "
        return f"{self.against}: {self.what} ({here}recorded on {held or 'nothing'})"


@dataclass(frozen=True)
class Architecture:
    """One architecture that something installed teaches TransformerLens.

    Attributes:
        name: The model class's name, as checkpoints' `config.json` gives it.
        provider: The plugin and the distribution that bring it; where they name TransformerLens' own
            adapter, to state what they verified of it, that.
        adapter: Reference to its adapter class.
        family: Which checkpoints load and which are refused; None where nobody has said.
        fixes: Slugs of the upstream fixes its models need.
        verified: What was verified.
    """

    name: str
    provider: str
    adapter: str
    family: Family | None = None
    fixes: tuple[str, ...] = ()
    verified: tuple[Verified, ...] = ()


def architectures(
    installed: Mapping[str, str | None], *, manager: PluginManager | None = None
) -> dict[str, Architecture]:
    """Every architecture that plugins bring, through our hook or upstream's own entry points.

    Args:
        installed: The versions to look for in the records, by distribution name, as
            [`versions`][tl_ext.upstream.versions] gives them.
        manager: Where to look; None builds a manager of what is installed.

    Returns:
        Architectures by name, our own first; of TransformerLens' own those that a plugin verified.

    Raises:
        PluginError: A plugin's record of verifications cannot be read.
    """
    manager = manager or build_manager()
    found = {}
    for name, spec in manager.adapters().items():
        found[name] = Architecture(
            name=name,
            provider=_provider(spec, manager.owner(spec) or ""),
            adapter=spec.adapter,
            family=spec.family,
            fixes=spec.fixes,
            verified=_verified(spec, manager.module(spec), installed),
        )
    for point in metadata.entry_points(group=UPSTREAM_GROUP):
        if point.name not in found:
            distribution = "no distribution" if point.dist is None else point.dist.name
            found[point.name] = Architecture(
                point.name, f"{UPSTREAM_GROUP} ({distribution})", point.value
            )
    return found


def records_file(module: str) -> Path | None:
    """Where the records of a package's verifications lie; the file need not exist.

    Args:
        module: Any module of the package; nothing is imported.

    Returns:
        `verified.json` in the folder of the top-level package; None for what is no package.
    """
    found = util.find_spec(module.partition(".")[0])
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(folders[0]) / RECORDS if folders else None


def _provider(spec: AdapterSpec, owner: str) -> str:
    own = spec.adapter.startswith("transformer_lens.")
    return f"TransformerLens, verified by {owner}" if own else owner


def _verified(
    spec: AdapterSpec, module: str | None, installed: Mapping[str, str | None]
) -> tuple[Verified, ...]:
    """A spec's verifications, each with what the package of its plugin has recorded of it."""
    if not spec.verified:
        return ()
    recorded = _records(module or spec.adapter.partition(":")[0])
    return tuple(
        Verified(
            against=one.against,
            what=one.what,
            test=one.test,
            on=tuple(recorded.get(one.test, ())),
            here=_among(installed, recorded.get(one.test, ())),
        )
        for one in spec.verified
    )


def _records(module: str) -> dict[str, list[dict[str, Any]]]:
    """What a package has recorded, by test module; nothing where there is no file."""
    file = records_file(module)
    if file is None or not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PluginError(f"{file} cannot be read: {error}.") from error
    if not isinstance(read, dict):
        raise PluginError(f"{file} holds a {type(read).__name__}; expected test modules by path.")
    return read


def _among(installed: Mapping[str, str | None], recorded: Iterable[Mapping[str, Any]]) -> bool:
    return any(all(one.get(name) == installed[name] for name in COMPARED) for one in recorded)
