"""What is known of upstream without importing it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from tl_ext import upstream


def test_versions_are_those_installed_and_none_where_absent() -> None:
    found = upstream.versions()
    assert found["transformer-lens"] == metadata.version("transformer-lens")
    assert set(found) == set(upstream.DISTRIBUTIONS)
    assert (found["sae-lens"] is not None) == upstream.saelens_installed()
    assert upstream.transformer_lens_major() in (3, 4)


def test_asking_imports_nothing() -> None:
    code = (
        "import sys; from tl_ext import upstream as u; u.versions(); u.saelens_installed();"
        "u.saelens_usable();"
        "print([m for m in ('torch', 'transformers', 'transformer_lens', 'sae_lens') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
