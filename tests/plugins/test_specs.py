"""A spec that cannot be right is refused where it is made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tl_ext.errors import PluginError
from tl_ext.plugins import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    Family,
    FixSpec,
    ScorerSpec,
    Target,
    Verification,
)

FIX: dict[str, Any] = {
    "slug": "a-fix",
    "symptom": "what is seen",
    "upstream": "some_package",
    "kind": "runtime",
    "takes_effect": "now",
    "probe": "a.module:probe",
    "targets": (
        Target("some_package.part:Class.method", "a.module:wrap"),
        Target("some_package.other:name?", "a.module:wrap"),
    ),
}


ADAPTER: dict[str, Any] = {"architecture": "A", "adapter": "a:b"}
SHOWN: dict[str, Any] = {"against": "transformers", "what": "logits, 1e-4", "test": "tests/t.py"}


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (AdapterSpec, {"architecture": "", "adapter": "a:b"}, "architecture is ''"),
        (AdapterSpec, {"architecture": "A", "adapter": "a.b"}, "adapter is 'a.b'"),
        (AdapterSpec, {"architecture": "A", "adapter": "a:b", "register": "x"}, "register is 'x'"),
        (
            AdapterSpec,
            ADAPTER | {"fixes": "a-fix"},
            "fixes is 'a-fix'; expected a tuple of strings",
        ),
        (AdapterSpec, ADAPTER | {"fixes": ("A Fix",)}, "lower-case words"),
        (AdapterSpec, ADAPTER | {"verified": Verification(**SHOWN)}, "a tuple of Verification"),
        (AdapterSpec, ADAPTER | {"verified": ("by eye",)}, "a tuple of Verification"),
        (AdapterSpec, ADAPTER | {"family": "GLM"}, "family is 'GLM'; expected a Family"),
        (Verification, SHOWN | {"against": "hope"}, "'golden file' or 'transformers' or"),
        (Verification, SHOWN | {"what": " "}, "a line that is not empty"),
        (Verification, SHOWN | {"test": "tests.t"}, "the path of a test module"),
        (Verification, SHOWN | {"test": "tests\\t.py"}, "with forward slashes"),
        (Family, {"name": "", "checkpoints": ()}, "a name that is not empty"),
        (Family, {"name": "GLM", "checkpoints": "glm-6b"}, "a tuple of strings"),
        (Family, {"name": "GLM", "checkpoints": (), "refused": [1]}, "a tuple of strings"),
        (
            DictionarySourceSpec,
            {"scheme": "S3", "open": "a:b", "description": ""},
            "scheme is 'S3'",
        ),
        (ScorerSpec, {"name": "n", "score": ":b", "description": ""}, "score is ':b'"),
        (FixSpec, FIX | {"slug": "A Fix"}, "lower-case words"),
        (
            FixSpec,
            FIX | {"kind": "magic"},
            "'runtime' or 'import-time' or 'patch-only' or 'source-only'",
        ),
        (FixSpec, FIX | {"takes_effect": "later"}, "'now' or 'at boot'"),
        (FixSpec, FIX | {"targets": "a:b"}, "a tuple of Target"),
        (FixSpec, FIX | {"targets": ()}, "some, for a runtime fix"),
        (FixSpec, FIX | {"kind": "source-only"}, "expected none"),
        (
            FixSpec,
            FIX | {"kind": "import-time", "targets": ()},
            "prepare is None; expected a refer",
        ),
        (FixSpec, FIX | {"prepare": "a:b"}, "expected None, for a fix that is runtime"),
        (FixSpec, FIX | {"prepare": "a.b"}, "prepare is 'a.b'"),
        (FixSpec, FIX | {"touches": "another"}, "a tuple of strings"),
        (FixSpec, FIX | {"present_in": ("1",), "absent_in": ("1", "2")}, "no release of present"),
        (Target, {"name": "a.b", "wrap": "a:b"}, "name is 'a.b'"),
        (Target, {"name": "a:b", "wrap": "b"}, "wrap is 'b'"),
        (
            AnalysisSpec,
            {
                "name": "n",
                "title": "",
                "needs": "readings",
                "collect": "a:b",
                "tabulate": "a:b",
                "draw": "a:b",
                "caption": "",
            },
            "needs is 'readings'; expected a tuple of strings",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(kind: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told):
        kind(**given)


def test_a_spec_says_its_name_and_its_references_and_stays_as_it_is() -> None:
    spec = FixSpec(**FIX)
    assert spec.name_of == "a-fix"
    assert spec.references() == {
        "probe": "a.module:probe",
        "targets[0]": "a.module:wrap",
        "targets[1]": "a.module:wrap",
    }
    assert AdapterSpec("A", "a:b").references() == {"adapter": "a:b"}
    with pytest.raises(FrozenInstanceError):
        spec.slug = "another"  # type: ignore[misc]
