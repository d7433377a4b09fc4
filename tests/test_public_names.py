"""The public names are one list, and asking for the package costs nothing."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tl_ext

PACKAGE = Path(tl_ext.__file__).parent
HEAVY = ("torch", "pandas", "numpy", "scipy", "transformers", "transformer_lens", "plotly")


def public_names() -> list[str]:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    return [
        alias.asname or alias.name
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    loaded = in_a_new_process(
        f"import tl_ext, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert loaded == ""


def test_importing_is_quick() -> None:
    timing = (
        "import time; start = time.perf_counter(); import tl_ext; "
        "print(time.perf_counter() - start)"
    )
    # The best of three: other tests share the machine.
    assert min(float(in_a_new_process(timing)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tl_ext, name) is not None


def test_the_list_is_what_dir_shows() -> None:
    assert sorted(tl_ext.__all__) == sorted(set(public_names()))
    assert set(public_names()) <= set(dir(tl_ext))


def test_no_public_name_is_a_submodule() -> None:
    submodules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    assert not submodules & set(public_names())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        tl_ext.no_such_name  # noqa: B018


def test_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert tl_ext.__version__ == version("tl-ext")


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_reference_lists_every_public_name() -> None:
    page = PACKAGE.parents[1] / "docs" / "reference" / "index.md"
    if not page.is_file():
        pytest.skip("no docs beside an installed package")
    text = page.read_text(encoding="utf-8")
    listed = {line.split("`")[1] for line in text.splitlines() if line.startswith("| [`")}
    assert listed == set(public_names())
