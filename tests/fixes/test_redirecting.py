"""A package finds names elsewhere, for its own imports alone, until that is taken back."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tl_ext.errors import FixError
from tl_ext.fixes.ledger import Ledger
from tl_ext.fixes.redirecting import Redirection
from tl_ext.plugins import FixSpec

OLD, PACKAGE, NEW = "made_old", "made_package", "made_new"
NAMES = {
    f"{OLD}:gone": f"{NEW}:found",
    f"{OLD}:kept": f"{NEW}:found",
    f"{OLD}.lost:other": f"{NEW}:other",
}
FILES = {
    f"{OLD}/__init__.py": "kept = 'kept'\n",
    f"{NEW}.py": "found = 'found'\nother = 'other'\n"
    "def prepare():\n"
    "    from tl_ext.fixes.redirecting import Redirection\n"
    f"    return Redirection({PACKAGE!r}, {NAMES!r})\n",
    f"{PACKAGE}/__init__.py": f"from {OLD} import gone\n",
    f"{PACKAGE}/part.py": f'''"""A module."""
from __future__ import annotations

from {OLD} import gone as renamed, kept
from {OLD}.lost import (
    other,
)
from . import gone

def late() -> str:
    from {OLD} import gone
    return gone

def line() -> int:
    raise LookupError
''',
    f"{PACKAGE}/plain.py": f"from {OLD} import kept\n",
    "made_bystander.py": f"from {OLD} import gone\n",
}
SPEC = FixSpec(
    "a-fix", "none", PACKAGE, "import-time", "now", f"{NEW}:probe", prepare=f"{NEW}:prepare"
)


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield tmp_path
    assert sys.meta_path == finders
    for name in set(sys.modules) - modules:
        if name.startswith("made_"):
            del sys.modules[name]


def load(name: str) -> Any:
    return importlib.import_module(name)


def test_names_that_are_lacking_are_found_elsewhere() -> None:
    with pytest.raises(ImportError, match="cannot import name 'gone'"):
        load(PACKAGE)
    redirection = Redirection(PACKAGE, NAMES)
    try:
        assert set(redirection.names) == {f"{OLD}:gone", f"{OLD}.lost:other"}
        part = load(f"{PACKAGE}.part")
        # What is there is not redirected.
        assert (part.renamed, part.kept, part.other, part.gone) == (
            "found",
            "kept",
            "other",
            "found",
        )
        assert part.late() == "found"
        assert load(f"{PACKAGE}.plain").kept == "kept"
    finally:
        redirection.take_back()


def test_nobody_else_sees_them_and_no_cache_is_written(packages: Path) -> None:
    redirection = Redirection(PACKAGE, NAMES)
    try:
        load(f"{PACKAGE}.part"), load(f"{PACKAGE}.plain")
        with pytest.raises(ImportError, match="cannot import name 'gone'"):
            load("made_bystander")
        assert not hasattr(sys.modules[OLD], "gone") and f"{OLD}.lost" not in sys.modules
        cached = {path.name.partition(".")[0] for path in packages.glob(f"{PACKAGE}/*/*.pyc")}
        assert cached <= {"plain"}
    finally:
        redirection.take_back()
    # Afterwards a fresh import is refused as before.
    for name in [PACKAGE, f"{PACKAGE}.part", f"{PACKAGE}.plain"]:
        del sys.modules[name]
    with pytest.raises(ImportError):
        load(PACKAGE)


def test_lines_and_sources_are_the_files_own(packages: Path) -> None:
    redirection = Redirection(PACKAGE, NAMES)
    try:
        part: ModuleType = load(f"{PACKAGE}.part")
    finally:
        redirection.take_back()
    assert part.__file__ == str(packages / PACKAGE / "part.py")
    assert part.__doc__ == "A module."
    assert "raise LookupError" in inspect.getsource(part.line)
    with pytest.raises(LookupError) as caught:
        part.line()
    assert caught.traceback[-1].lineno + 1 == 15


def test_a_hook_that_is_gone_is_told() -> None:
    redirection = Redirection(PACKAGE, NAMES)
    sys.meta_path.remove(redirection._finder)
    with pytest.raises(FixError, match=r"no longer in sys\.meta_path"):
        redirection.take_back()


def test_an_import_time_fix_is_counted_and_taken_back_completely() -> None:
    ledger = Ledger()
    with pytest.raises(FixError, match="not applied"):
        ledger.revert(SPEC)
    for count in (1, 2):
        ledger.apply(SPEC)
        (status,) = ledger.status(SPEC)
        assert status.applied == count
        assert status.targets == (f"{OLD}:gone", f"{OLD}.lost:other")
    assert ledger.count(SPEC) == 2 and not ledger.stays(SPEC)
    for count in (1, 0):
        ledger.revert(SPEC)
        assert ledger.count(SPEC) == count
    with pytest.raises(ImportError):
        load(PACKAGE)


def test_after_the_import_it_is_refused_and_stays() -> None:
    ledger = Ledger()
    ledger.apply(SPEC)
    assert load(PACKAGE).gone == "found"
    ledger.apply(SPEC)  # it is in effect; one more asks for nothing new
    assert ledger.count(SPEC) == 2
    ledger.revert(SPEC)
    assert ledger.count(SPEC) == 1
    with pytest.raises(FixError, match=f"{PACKAGE} was imported under it"):
        ledger.revert(SPEC)
    assert ledger.stays(SPEC) and ledger.count(SPEC) == 1
    with pytest.raises(FixError, match=r"before made_package is imported.*tl-ext fixes run a-fix"):
        Ledger().apply(SPEC)
    del sys.modules[PACKAGE]
    ledger.revert(SPEC)
