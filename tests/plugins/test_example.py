"""The example plugin, built and installed as a user would, beside us and not into us."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tl-ext-example"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed plugin; nothing is downloaded for it."""
    target = tmp_path_factory.mktemp("site")
    offline = (
        "--no-deps --no-build-isolation --no-index --disable-pip-version-check --quiet".split()
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(EXAMPLE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target


def run(site: Path, code: str, *words: str) -> Any:
    """Run code where the plugin is installed; its last line is JSON."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    env.pop("TL_EXT_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_found_with_its_distribution_and_without_torch(site: Path) -> None:
    code = """
import json, sys
from tl_ext.plugins import build_manager
(one,) = [one for one in build_manager().report() if one.name == "example"]
print(json.dumps([one.distribution, one.version, one.status, one.reason, dict(one.provides),
                  "torch" in sys.modules]))
"""
    assert run(site, code) == [
        "tl-ext-example",
        "0.1.0",
        "loaded",
        "",
        {
            "adapters": ["ExampleLlamaForCausalLM"],
            "analyses": ["example_lengths"],
            "dictionary_sources": ["example"],
            "scorers": ["example_words"],
        },
        False,
    ]


USE = """
CLAUSES = [f"M{n}" for n in range(1, 15)]
import json, sys
from types import SimpleNamespace
import torch
from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.model_bridge import TransformerBridge
from tl_ext import fixes
from tl_ext.models.activation import activate
from tl_ext.plugins import build_manager, resolve

folder = sys.argv[1]
manager = build_manager()
for plugin, _, _, ref in manager.references():
    if plugin.startswith("example"):
        resolve(ref)

words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(16)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1", pad_token="w2")
tokenizer.save_pretrained(folder)
torch.manual_seed(0)
from tl_ext_example.model import tiny as make_tiny
tiny = make_tiny()
tiny.save_pretrained(folder)

def boot(**options):
    try:
        bridge = TransformerBridge.boot_transformers(folder, device="cpu", **options)
    except ValueError as error:
        return None, str(error)[:60]
    return bridge, type(bridge.adapter).__name__

told = {}
# An adapter that is published and not registered by anybody: the fix alone makes it boot.
tokenizer_folder = PreTrainedTokenizerFast.from_pretrained(folder)
told["unfixed"] = boot(hf_model=tiny, tokenizer=tokenizer_folder)[1]
with fixes.applied("registered-adapters-ignored-by-boot"):
    told["fixed"] = boot(hf_model=tiny, tokenizer=tokenizer_folder)[1]
told["reverted"] = boot(hf_model=tiny, tokenizer=tokenizer_folder)[1]

told["activation"] = str(activate(quiet=True))
again = activate(quiet=True)
told["again"] = again.changed
bridge, told["booted"] = boot()
tokens = torch.tensor([[3, 4, 5, 6]])
with torch.no_grad():
    told["same"] = bool(torch.allclose(bridge(tokens), tiny(tokens).logits, atol=1e-5))

from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.loading import load_dictionaries
dictionaries = load_dictionaries("example://blocks.1.hook_resid_pre/8")
(one,) = dictionaries.values()
rows = torch.randn(5, 8)
told["dictionary"] = [
    isinstance(one, Dictionary), one.d_latent,
    bool(torch.equal(one.reconstruct(rows), rows)),
    bool(torch.allclose(one.encode(rows) @ one.directions + one.bias, rows)),
]

from tl_ext.models.loading import load_model
session = SimpleNamespace(
    model=load_model(folder), background=("w3 w4 w5 w6", "w7 w8 w9"), dictionaries=dictionaries
)
spec = manager.analyses()["example_lengths"]
tensors = {spec.name: resolve(spec.collect)(session, {})}
tables = resolve(spec.tabulate)(tensors, None)
figures = resolve(spec.draw)(tables, None)
told["analysis"] = [list(tables[spec.name].columns), list(figures), figures["lengths"].mark.title]

spec = manager.scorers()["example_words"]
scores = resolve(spec.score)(SimpleNamespace(texts=("a b c", "")))
told["scorer"] = [list(scores), list(resolve(spec.map_to_unit)(scores))]

from tl_ext.conformance import MODEL_CHECKS, catalogue, run_spec
known = catalogue.specs(manager=manager)["ExampleLlamaForCausalLM"]
with fixes.applied("mistyped-hook-names-ignored", "resid-mid-edit-reaches-mlp-alone"):
    report = run_spec(known, [one for one in MODEL_CHECKS if one.clause in CLAUSES], examples_asked=1)
told["conformance"] = [report.right, str(report).splitlines()[0]]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_all_it_adds_can_be_used(site: Path, tmp_path: Path) -> None:
    told = run(site, USE, str(tmp_path))
    refused = "Could not determine supported architecture from config. Avai"
    assert (told["unfixed"], told["fixed"], told["reverted"]) == (
        refused,
        "ExampleLlamaAdapter",
        refused,
    )
    assert "registered-adapters-ignored-by-boot" in told["activation"]
    assert told["again"] is False
    assert (told["booted"], told["same"]) == ("ExampleLlamaAdapter", True)
    assert told["dictionary"] == [True, 16, True, True]
    assert told["analysis"] == [
        ["hook_point", "mean", "sd"],
        ["lengths"],
        "Mean length of the activation",
    ]
    assert told["scorer"] == [[3.0, 0.0], [0.15, 0.0]]
    right, counts = told["conformance"]
    assert right and re.fullmatch(r"ExampleLlamaForCausalLM: \d+ passed", counts), counts


def test_upstreams_entry_point_group_lists_the_new_architectures_and_no_others() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    published = project["entry-points"]["transformer_lens.architectures"]
    sys.path.insert(0, str(EXAMPLE / "src"))
    try:
        from tl_ext_example import plugin
    finally:
        sys.path.remove(str(EXAMPLE / "src"))
    specs = {spec.architecture: spec.adapter for spec in plugin.tl_ext_adapters()}
    assert published == specs
