"""Words about fixes, made of their rows, docstrings and patches, so that nobody writes them twice."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tl_ext.fixes.api import probe, specs
from tl_ext.fixes.patching.patches import Patch, every_patch, patches_root
from tl_ext.fixes.probing import Finding, State

if TYPE_CHECKING:
    from tl_ext.plugins.specs import FixSpec

_HEAD = ("slug", "symptom", "releases", "patch", "test", "forwarded")
BEGIN, END = "<!-- made by `make fixes-pages` -->", "<!-- end -->"


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


def _releases(spec: FixSpec) -> str:
    gone = f"; not in {', '.join(spec.absent_in)}" if spec.absent_in else ""
    return f"{', '.join(spec.present_in)}{gone}"


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
        f"- `{spec.slug}`: {spec.symptom} ({spec.upstream} {_releases(spec)})"
        for spec in without_patch()
    )
    made = patches_table()
    if rest:
        made += f"\n\nFixes without a patch:\n\n{rest}"
    return f"{text[:begin]}\n\n{made}\n\n{text[end:]}"


def page() -> str:
    """docs/known-fixes.md: each fix with what its row says; mkdocs puts its docstring below."""
    patched = {patch.slug: patch for patch in every_patch()}
    parts = [
        "# The fixes there are",
        "Written by `make fixes-pages`. For SAELens, `6.54.12/4.3.0` is its release 6.54.12 beside "
        "TransformerLens 4.3.0. See [fixes and patches](fixes.md) for what the words in italics mean.",
    ]
    titles = {"transformer_lens": "TransformerLens", "sae_lens": "SAELens", "arena": "ARENA"}
    known = list(specs().values())
    for upstream in dict.fromkeys(spec.upstream for spec in known):
        parts.append(f"## {titles.get(upstream, upstream)}")
        for spec in (one for one in known if one.upstream == upstream):
            where = (
                f"in {', '.join(spec.present_in)}" if spec.present_in else "releases not recorded"
            )
            if spec.absent_in:
                where += f", not in {', '.join(spec.absent_in)}"
            facts = [spec.kind, where]
            if spec.takes_effect != "now":
                facts.append(f"takes effect {spec.takes_effect}")
            if spec.applicable and not spec.recommended:
                facts.append("not among the recommended")
            if spec.slug in patched:
                facts.append(f"patch `{patched[spec.slug].name}`")
            if spec.bug:
                facts.append(f"[reported]({spec.bug})")
            module = spec.probe.partition(":")[0]
            parts += [
                f"### {spec.slug}",
                f"*{'; '.join(facts)}*",
                f"::: {module}\n    options:\n      members: []\n      show_root_heading: false\n"
                "      show_root_toc_entry: false",
            ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write what is made of rows, docstrings and headers, in the checkout this runs from."""
    file = patches_root() / "README.md"
    file.write_text(readme(file.read_text(encoding="utf-8")), encoding="utf-8")
    (patches_root().parent / "docs" / "known-fixes.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
