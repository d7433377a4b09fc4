"""Distributions made on the spot: a module, and the metadata that publishes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HEAD = "from tl_ext.plugins import *\nfrom tl_ext.plugins import hookimpl\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`install("dist-name", source)`: a distribution with one plugin, called as it is."""

    def add(name: str, source: str) -> None:
        module = f"made_{tmp_path.name}_{name}".replace("-", "_")
        folder = tmp_path / name
        info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(HEAD + source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[tl_ext]\n{name} = {module}\n")
        monkeypatch.syspath_prepend(folder)

    monkeypatch.delenv("TL_EXT_PLUGINS", raising=False)
    return add
