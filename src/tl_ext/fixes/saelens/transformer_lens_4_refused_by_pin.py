"""SAELens: its requirements refuse TransformerLens 4.

`pip install sae-lens transformer-lens` gets TransformerLens 3 whatever else is wanted, and
`pip install sae-lens "transformer-lens>=4"` ends in a conflict, or in a SAELens so old that it named no
upper bound: `transformer-lens<4.0.0` stands among the requirements in `pyproject.toml`. The bound was
right as long as `import sae_lens` failed there; with the patch of
`no-import-beside-transformerlens-4` it no longer does.

What is installed takes its requirements from the distribution's metadata, which nothing in the process
asks, so there is nothing to apply at run time: SAELens is installed without its requirements there, as
docs/training-saelens.md tells. The patch, for SAELens' source tree, raises the bound to the next major
release; `uv.lock` has to be made anew after it.

The probe reads the requirements in `pyproject.toml` and nothing else.

Source: `pyproject.toml`, `project.dependencies`, as of SAELens 6.54.12;
https://github.com/decoderesearch/SAELens/issues/738.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tl_ext.fixes.probing import Finding, State

SLUG = "transformer-lens-4-refused-by-pin"

# The release that SAELens was seen to work beside, under the patch for its imports.
_WORKS = "4.3.0"


def probe(tree: Path) -> Finding:
    """Read which TransformerLens a tree of SAELens asks for.

    Args:
        tree: The root of SAELens' source.

    Returns:
        PRESENT where TransformerLens 4.3.0 is refused, ABSENT where it is allowed, UNKNOWN where the tree
        names no such requirement.
    """
    from packaging.requirements import Requirement

    file = tree / "pyproject.toml"
    if not file.is_file():
        return Finding(State.UNKNOWN, "the tree has no pyproject.toml")
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    for named in map(Requirement, project.get("dependencies", ())):
        if named.name.replace("_", "-").lower() == "transformer-lens":
            allowed = named.specifier.contains(_WORKS)
            state = State.ABSENT if allowed else State.PRESENT
            verb = "allows" if allowed else "refuses"
            return Finding(state, f"pyproject.toml: {str(named)!r} {verb} {_WORKS}")
    return Finding(State.UNKNOWN, "pyproject.toml requires no transformer-lens")
