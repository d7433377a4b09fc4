"""Rows of one room of fixes: slug, module and references follow from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tl_ext.plugins.specs import FixSpec, Target


@dataclass(frozen=True)
class Room:
    """A package of fixes for one upstream package.

    Attributes:
        upstream: The upstream package, as it is imported.
        folder: The package below `tl_ext.fixes` that holds a module per slug.
    """

    upstream: str
    folder: str

    def runtime(
        self,
        slug: str,
        *,
        symptom: str,
        targets: tuple[str, ...] | Mapping[str, str],
        takes_effect: Any = "now",
        **fields: Any,
    ) -> FixSpec:
        """A fix that wraps what is there.

        Args:
            slug: Its name; its module is the same with underscores.
            symptom: What a user sees, in one line.
            targets: The names that the module's `wrap` wraps; as a mapping, the name of the wrapper
                for each.
            takes_effect: `"now"` or `"at boot"`.
            fields: The other fields of [`FixSpec`][tl_ext.plugins.specs.FixSpec].
        """
        wrappers = targets if isinstance(targets, Mapping) else dict.fromkeys(targets, "wrap")
        module = self._module(slug)
        return FixSpec(
            slug,
            symptom,
            self.upstream,
            "runtime",
            takes_effect,
            f"{module}:probe",
            tuple(Target(name, f"{module}:{wrap}") for name, wrap in wrappers.items()),
            **fields,
        )

    def import_time(self, slug: str, *, symptom: str, **fields: Any) -> FixSpec:
        """A fix that must come before the upstream package is imported.

        Args:
            slug: Its name; its module, which has `prepare`, is the same with underscores.
            symptom: What a user sees, in one line.
            fields: The other fields of [`FixSpec`][tl_ext.plugins.specs.FixSpec].
        """
        module = self._module(slug)
        return FixSpec(
            slug,
            symptom,
            self.upstream,
            "import-time",
            "now",
            f"{module}:probe",
            prepare=f"{module}:prepare",
            **fields,
        )

    def source_only(self, slug: str, *, symptom: str, **fields: Any) -> FixSpec:
        """A bug in files that no package installs; its `probe(tree)` is given a source tree.

        Args:
            slug: Its name; its module, which has the probe, is the same with underscores.
            symptom: What a user sees, in one line.
            fields: The other fields of [`FixSpec`][tl_ext.plugins.specs.FixSpec].
        """
        probe = f"{self._module(slug)}:probe"
        return FixSpec(
            slug,
            symptom,
            self.upstream,
            "source-only",
            "now",
            probe,
            recommended=False,
            **fields,
        )

    def _module(self, slug: str) -> str:
        return f"tl_ext.fixes.{self.folder}.{slug.replace('-', '_')}"
