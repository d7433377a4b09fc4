"""Names that one package's own imports find elsewhere, while everybody else's find what they did.

A release of an upstream package that removes a name breaks every package that imports it. Putting
the name back where it was would fix that, and would tell everybody who asks for it that this is the
older release. So nothing is put back: the modules of the package that broke are compiled with their
`from module import name` pointed at another module, and no other module, upstream's included, is
touched. Line numbers and files stay as they are, and nothing is written to the package's caches.
"""

from __future__ import annotations

import ast
import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from tl_ext.errors import FixError


class Redirection:
    """Where a package finds names that are no longer where it looks; in effect until taken back.

    Args:
        package: The package whose imports are read: itself and every module below it.
        names: For each `"module:name"` it may look for, the `"module:name"` it shall find. Only names
            that are not there are redirected.
    """

    def __init__(self, package: str, names: Mapping[str, str]) -> None:
        self.names = {name: found for name, found in names.items() if not _exists(name)}
        self._finder = _Finder(package, self.names)
        sys.meta_path.insert(0, self._finder)

    def take_back(self) -> None:
        """Let the package's imports find what everybody's find.

        Raises:
            FixError: Something else has taken the import hook away.
        """
        try:
            sys.meta_path.remove(self._finder)
        except ValueError:
            raise FixError(
                f"The import hook for {self._finder.package} is no longer in sys.meta_path; "
                "something else has removed it."
            ) from None


class _Finder:
    """Finds the package's modules where the finders after it do, and has them loaded by ours."""

    def __init__(self, package: str, names: Mapping[str, str]) -> None:
        self.package = package
        self.names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != self.package:
            return None
        for finder in list(sys.meta_path):
            find: Any = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find and find(name, path, target)
            if spec is not None:
                # Any other kind of loader has no source, or has a say in it already.
                if type(spec.loader) is SourceFileLoader:
                    spec.loader = RedirectingLoader(name, spec.loader.path, self.names)
                return spec
        return None


class RedirectingLoader(SourceFileLoader):
    """Loads a module from its source, with the imports of some names pointed elsewhere.

    Attributes:
        redirects: Whether there are such names; what a spec's loader is asked for without importing.
    """

    def __init__(self, fullname: str, path: str, names: Mapping[str, str]) -> None:
        super().__init__(fullname, path)
        self._names = names
        self.redirects = bool(names)

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code; upstream's cache is used where nothing is redirected, and never written
        otherwise."""
        path = self.get_filename(fullname)
        pointer = _Pointer(self._names)
        tree = pointer.visit(ast.parse(self.get_data(path), path))
        if not pointer.pointed:
            return super().get_code(fullname)
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code


class _Pointer(ast.NodeTransformer):
    """Points the imports of some names elsewhere."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.pointed = False

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        """One import for what stays, and one for each name that is found elsewhere."""
        stay: list[ast.alias] = []
        found: list[ast.stmt] = []
        for alias in node.names:
            there = None if node.level else self._names.get(f"{node.module}:{alias.name}")
            if there is None:
                stay.append(alias)
                continue
            module, _, name = there.partition(":")
            renamed = ast.alias(name, alias.asname or alias.name)
            found.append(ast.ImportFrom(module, [ast.copy_location(renamed, alias)], 0))
        self.pointed |= bool(found)
        rest: list[ast.stmt] = [ast.ImportFrom(node.module, stay, node.level)] if stay else []
        return [ast.copy_location(statement, node) for statement in (*rest, *found)]


def _exists(reference: str) -> bool:
    """Whether `"module:name"` can be imported."""
    module, _, name = reference.partition(":")
    try:
        # A module under its old name may say so; it is not the user who imports it here.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            getattr(importlib.import_module(module), name)
    # TransformerLens raises ImportError for an attribute that it has removed.
    except (ImportError, AttributeError):
        return False
    return True
