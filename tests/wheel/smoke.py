"""Run by `make wheel` in an environment that holds the wheel and what it asks for, and nothing else.

With --beside-saelens: run where SAELens was installed beside TransformerLens 4 without its own pins.
There sae_lens does not import by itself, and under the fix does what `beside_saelens.py` checks.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib import import_module, metadata, resources
from pathlib import Path

CARRIED = (
    "py.typed",
    "__init__.pyi",
    "patches/README.md",
    "testbed/weights/model.safetensors",
    "testbed/weights/tokenizer.json",
    "report/templates",
)


def carried() -> None:
    """What is not Python code, and must be in the wheel all the same."""
    package = resources.files("tl_ext")
    missing = [name for name in CARRIED if not package.joinpath(name).exists()]
    assert not missing, f"the wheel lacks {', '.join(missing)}"
    from tl_ext.fixes.patching.patches import patches_root

    assert patches_root() == Path(str(package)) / "patches", patches_root()


def imports() -> None:
    import tl_ext

    assert "torch" not in sys.modules, "import tl_ext loads torch"
    assert tl_ext.__version__ == metadata.version("tl-ext")
    for name in tl_ext.__all__:
        getattr(tl_ext, name)


def command(*arguments: str) -> str:
    script = Path(sysconfig.get_path("scripts")) / "tl-ext"
    done = subprocess.run(
        [script, *arguments], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"tl-ext {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def patches_and_fixes() -> None:
    patches = command("patches", "list", "--json")
    for slug in ("registered-adapters-ignored-by-boot", "prefix-not-excluded"):
        assert f'"{slug}"' in patches, f"tl-ext patches list says nothing of {slug}"
    assert "as recorded" in command("fixes", "probe", "registered-adapters-ignored-by-boot")
    command("fixes", "status", "registered-adapters-ignored-by-boot")
    command("patches", "status", "registered-adapters-ignored-by-boot")


def embedded_model_runs() -> None:
    import torch

    import tl_ext

    model = tl_ext.load_model("testbed")
    texts = tl_ext.batch(model, ["I am happy.", "Je suis heureux."])
    with torch.no_grad():
        logits = model(texts.ids)
    assert torch.isfinite(logits).all()
    assert len(tl_ext.load_dictionaries("testbed://")) > 0


def beside_saelens() -> None:
    """SAELens beside TransformerLens 4: fails by itself, works under the fix."""
    import_time = "no-import-beside-transformerlens-4"
    versions = f"{metadata.version('sae-lens')} beside {metadata.version('transformer-lens')}"
    try:
        import_module("sae_lens")
    except ImportError as error:
        print(f"sae-lens {versions}, without the fix: {error}")
    else:
        raise AssertionError(f"sae-lens {versions} imports by itself: the fix is not needed here")
    script = Path(__file__).with_name("beside_saelens.py")
    print(command("fixes", "run", import_time, "--", str(script)))
    print(command("fixes", "check", import_time))


def main() -> None:
    imports()
    if "--beside-saelens" in sys.argv:
        beside_saelens()
    else:
        carried()
    assert "study" in command("--help")
    command("plugins")
    patches_and_fixes()
    embedded_model_runs()
    print(f"tl-ext {metadata.version('tl-ext')}: smoke test passed")


if __name__ == "__main__":
    main()
