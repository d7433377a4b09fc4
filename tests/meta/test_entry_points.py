"""What TransformerLens' own discovery finds is what `activate` registers."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tl_ext.plugins import build_manager

ROOT = Path(__file__).resolve().parents[2]


def test_upstreams_entry_points_are_our_adapters() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    published = project["entry-points"]["transformer_lens.architectures"]
    ours = build_manager(only=()).adapters()
    # Upstream's own adapters are named to say what was verified of them; nobody has to find those.
    assert published == {
        name: spec.adapter
        for name, spec in ours.items()
        if not spec.adapter.startswith("transformer_lens.")
    }
