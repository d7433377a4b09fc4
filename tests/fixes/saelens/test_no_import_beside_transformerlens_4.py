"""SAELens is imported beside TransformerLens 4 under the fix, and does there what plain torch does.

Beside TransformerLens 3, where it imports by itself, the same checks hold without the fix.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.wheel import beside_saelens

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes import State
from tl_ext.fixes.saelens.no_import_beside_transformerlens_4 import SLUG
from tl_ext.upstream import saelens_installed, saelens_usable, transformer_lens_major

ROOT = Path(__file__).resolve().parents[3]
installed = pytest.mark.skipif(not saelens_installed(), reason="SAELens is not installed here")
beside_3 = pytest.mark.skipif(transformer_lens_major() > 3, reason="needs TransformerLens 3")
beside_4 = pytest.mark.skipif(
    not saelens_installed() or transformer_lens_major() < 4,
    reason="needs SAELens beside TransformerLens 4 (make smoke-tl4-sae)",
)

STEPS = f"""
import json, sys, warnings
import transformer_lens
from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.upstream import saelens_usable

slug, said, finders = {SLUG!r}, {{}}, list(sys.meta_path)

def refused(call):
    try:
        call(slug)
    except FixError as error:
        return str(error)

said["usable"] = [saelens_usable()]
said["names"] = len(fixes.apply(slug)[0].targets)
said["usable"].append(saelens_usable())
fixes.revert(slug)
said["usable"].append(saelens_usable())
said["traces"] = sys.meta_path != finders or "sae_lens" in sys.modules
with fixes.applied("prefix-not-excluded", slug):  # put first, whatever the order
    import sae_lens
said["applied"] = [one.applied for one in fixes.status(slug, "prefix-not-excluded")]
said["revert"] = refused(fixes.revert)
said["usable"].append(saelens_usable())
said["state"] = fixes.probe(slug).state
import sae_lens.tutorial.tsea  # what is imported late is read like the rest
try:
    said["hooked"] = hasattr(transformer_lens, "HookedTransformer")
except ImportError:  # as TransformerLens 4 raises it
    said["hooked"] = "ImportError"
said["modules"] = [name for name in sys.modules if name.startswith("transformer_lens.Hooked")]
print(json.dumps(said))
"""


def in_a_process(*words: str) -> str:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@installed
def test_before_the_import_it_comes_and_goes_and_after_it_stays() -> None:
    said: dict[str, Any] = json.loads(in_a_process("-c", STEPS).splitlines()[-1])
    here = transformer_lens_major() < 4
    assert said["usable"] == [here, True, here, True]
    assert said["names"] == (0 if here else 9)
    assert said["traces"] is False
    assert said["applied"] == [1, 0]
    assert "sae_lens was imported under it" in said["revert"]
    assert said["state"] == "ABSENT"
    assert said["hooked"] == (True if here else "ImportError")
    assert ("transformer_lens.HookedTransformer" in said["modules"]) == here


@beside_4
def test_without_it_the_import_fails() -> None:
    if saelens_usable():
        pytest.skip("the fix is in effect in this process")
    assert fixes.probe(SLUG).state is State.PRESENT


@beside_4
def test_under_it_saelens_does_what_plain_torch_does() -> None:
    script = Path(beside_saelens.__file__)
    said = in_a_process(
        "-c", "from tl_ext.cli import app; app()", "fixes", "run", SLUG, "--", str(script)
    )
    for check in beside_saelens.CHECKS:
        assert f"{check.__name__}: gpt2, qwen2, phi" in said


@beside_3
@pytest.mark.saelens
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("family", beside_saelens.FAMILIES)
@pytest.mark.parametrize("check", beside_saelens.EVERYWHERE)
def test_beside_transformerlens_3_the_same_holds(check: Any, family: str) -> None:
    check(family)


@beside_3
@pytest.mark.saelens
def test_where_saelens_is_imported_it_is_refused() -> None:
    import sae_lens  # noqa: F401

    with pytest.raises(FixError, match=rf"before sae_lens is imported.*fixes run {SLUG}"):
        fixes.apply(SLUG)
    assert fixes.status(SLUG)[0].applied == 0
    assert fixes.probe(SLUG).state is State.ABSENT


def test_where_a_device_map_is_given_the_device_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.fixes.saelens.stand_ins import HookedTransformer

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        TransformerBridge, "boot_transformers", lambda name, **options: seen.append(options)
    )
    for device_map in ("auto", None):
        HookedTransformer.from_pretrained_no_processing(
            "some/name", device="cpu", device_map=device_map
        )
    HookedTransformer.from_pretrained_no_processing("some/name", device="cpu")
    assert seen == [
        {"device_map": "auto"},
        {"device": "cpu", "device_map": None},
        {"device": "cpu"},
    ]
