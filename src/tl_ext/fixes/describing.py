"""Words about fixes, made of their rows, docstrings and patches, so that nobody writes them twice."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tl_ext.fixes.api import probe, specs
from tl_ext.fixes.patches import Patch, every_patch
from tl_ext.fixes.probing import Finding, State

if TYPE_CHECKING:
    from tl_ext.plugins.specs import FixSpec

_HEAD = ("slug", "symptom", "releases", "patch", "test", "forwarded")
BEGIN, END = "<!-- made by `make patches-table` -->", "<!-- end -->"


def docstring(spec: FixSpec) -> str:
    """What the module of a fix says of the bug.

    Args:
        spec: The fix.
    """
    module = importlib.import_module(spec.probe.partition(":")[0])
    return inspect.getdoc(module) or ""


def pull_request(patch: Patch, *, finding: Finding | None = None) -> str:
    """A description to send a patch with: symptom, cause, reproduction, test.

    Args:
        patch: The patch.
        finding: What its probe saw in what is installed; None runs it, where that can be asked.

    Returns:
        Markdown.
    """
    spec = specs()[patch.slug]
    if finding is None and spec.kind != "source-only":
        finding = probe(patch.slug)
    cause = docstring(spec)
    source = ""
    if "Source:" in cause:
        cause, _, source = cause.partition("Source:")
    # What our fix does is of no account upstream; what the bug is, is.
    told = [part for part in cause.strip().split("\n\n") if not part.startswith("The fix")]
    parts = [
        f"# {patch.subject}",
        f"## Symptom\n\n{_sentence(spec.symptom)}",
        "## Cause\n\n" + "\n\n".join(told),
    ]
    if source:
        parts.append(f"Where: {' '.join(source.split())}")
    if finding is not None and finding.state is State.PRESENT:
        parts.append(
            f"## Reproduction\n\nOn a tiny model with random weights: {finding.evidence}.\n\n"
            f"Seen in {patch.upstream} {', '.join(spec.present_in)}. The test below fails without "
            "the change."
        )
    else:
        parts.append("## Reproduction\n\nThe test below fails without the change.")
    parts.append(f"## Change\n\n{patch.message}")
    parts.append("## Test\n\n" + "\n".join(f"- `{name}`" for name in patch.tests))
    if patch.fields["Bug"].startswith("http"):
        parts.append(f"Fixes {patch.fields['Bug']}")
    return "\n\n".join(parts) + "\n"


def patches_table() -> str:
    """The table of patches/README.md: a row per patch, and the fixes without one."""
    known = specs()
    rows: list[Sequence[str]] = [_HEAD, ["---"] * len(_HEAD)]
    patched = every_patch()
    for patch in patched:
        spec = known[patch.slug]
        after = f", after {', '.join(f'`{slug}`' for slug in patch.requires)}"
        sent = patch.fields["Forwarded"]
        bug = patch.fields["Bug"]
        rows.append(
            (
                f"`{patch.slug}`",
                _cell(spec.symptom),
                f"{patch.upstream} {', '.join(spec.present_in)}",
                f"`{patch.name}`" + after * bool(patch.requires),
                "<br>".join(f"`{name}`" for name in patch.tests),
                sent if not bug.startswith("http") else f"{sent}; [reported]({bug.split()[0]})",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def without_patch() -> list[FixSpec]:
    """The fixes that have no patch: the latest release has repaired what they mend, as a rule."""
    patched = {patch.slug for patch in every_patch()}
    return [spec for spec in specs().values() if spec.slug not in patched]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def readme(text: str) -> str:
    """patches/README.md with its table made anew.

    Args:
        text: The file as it is, with the two lines that the table stands between.
    """
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rest = "\n".join(
        f"- `{spec.slug}`: {spec.symptom} ({spec.upstream} {', '.join(spec.present_in)}; not in "
        f"{', '.join(spec.absent_in)})"
        for spec in without_patch()
    )
    made = patches_table()
    if rest:
        made += f"\n\nFixes without a patch:\n\n{rest}"
    return f"{text[:begin]}\n\n{made}\n\n{text[end:]}"


def main() -> None:
    """Write the table into patches/README.md of a checkout."""
    from tl_ext.fixes.patches import patches_root

    file = patches_root() / "README.md"
    file.write_text(readme(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
