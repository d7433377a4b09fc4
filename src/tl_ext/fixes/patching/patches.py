"""The patches to send upstream, as `git format-patch` writes them.

They lie as `<upstream>/<base release>/NNNN-slug.patch` beside a file `series` that lists them in
the order they apply in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tl_ext.errors import FixError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FIELDS = (
    "From",
    "Subject",
    "Origin",
    "Bug",
    "Forwarded",
    "Applied-Upstream",
    "Last-Update",
    "X-TlExt-Slug",
    "X-TlExt-Base",
    "X-TlExt-Tree",
    "X-TlExt-Requires",
)


@dataclass(frozen=True)
class Patch:
    """One patch file.

    Attributes:
        path: The file.
        fields: Its header, field by field (`FIELDS` and what git adds).
        files: The files it changes, relative to the root of the upstream tree.
        added: Those among them that it adds.
        message: What the commit says below its first line.
    """

    path: Path
    fields: Mapping[str, str]
    files: tuple[str, ...]
    added: tuple[str, ...]
    message: str = ""

    @property
    def slug(self) -> str:
        """The fix it belongs to."""
        return self.fields["X-TlExt-Slug"]

    @property
    def upstream(self) -> str:
        """The package it changes, by its folder."""
        return self.path.parent.parent.name

    @property
    def base(self) -> str:
        """The release it is made against, by its folder."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """Where it lies below the folder of patches, without the slug: `sae_lens/6.54.12/0001`."""
        return f"{self.upstream}/{self.base}/{self.path.name.partition('-')[0]}"

    @property
    def subject(self) -> str:
        """The commit's first line."""
        return self.fields["Subject"].removeprefix("[PATCH]").strip()

    @property
    def requires(self) -> tuple[str, ...]:
        """Slugs of the patches that must be applied before it."""
        named = self.fields["X-TlExt-Requires"].replace(",", " ").split()
        return tuple(slug for slug in named if slug != "none")

    @property
    def of_source(self) -> bool:
        """Whether it is for a source tree and not for what is installed."""
        return self.fields["X-TlExt-Tree"] == "source"

    @property
    def tests(self) -> tuple[str, ...]:
        """Its regression tests, among the files it adds."""
        return tuple(
            name for name in self.added if re.match(r"(test_.*|.*_test)\.py", Path(name).name)
        )

    @classmethod
    def read(cls, path: Path) -> Patch:
        """Read a patch file.

        Args:
            path: The file.

        Returns:
            The patch.

        Raises:
            FixError: A header field is missing, or it changes no file.
        """
        text = path.read_text(encoding="utf-8")
        # The first line is git's mailbox separator, not a header.
        message = message_from_string(text.partition("\n")[2])
        fields = {name: " ".join(str(value).split()) for name, value in message.items()}
        missing = [name for name in FIELDS if name not in fields]
        changes = re.findall(r"^diff --git a/(\S+) b/\S+\n(new file mode)?", text, re.MULTILINE)
        if missing or not changes:
            what = f"lacks {', '.join(missing)}" if missing else "changes no file"
            raise FixError(
                f"{path} {what}. A patch is one commit of git format-patch with {FIELDS}."
            )
        return cls(
            path,
            MappingProxyType(fields),
            tuple(name for name, _ in changes),
            tuple(name for name, new in changes if new),
            str(message.get_payload()).partition("\n---\n")[0].strip(),
        )


def patches_root() -> Path:
    """The folder of patches: inside an installed wheel, or at the root of a checkout.

    Returns:
        The folder.

    Raises:
        FixError: It is in neither place.
    """
    package = Path(__file__).resolve().parents[2]
    candidates = (package / "patches", package.parents[1] / "patches")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FixError(
        f"No folder of patches at {' or '.join(map(str, candidates))}. Reinstall tl-ext."
    )


def series(upstream: str, base: str) -> list[Patch]:
    """The patches for one release, in the order they apply in.

    Args:
        upstream: The upstream package, as it is imported: `"transformer_lens"`.
        base: The release they are made against: `"4.3.0"`.

    Returns:
        The patches.

    Raises:
        FixError: There is no such series, it names a file that is not there, or a file is not in
            it.
    """
    folder = patches_root() / upstream / base
    listing = folder / "series"
    if not listing.is_file():
        there = sorted(
            str(path.parent.relative_to(patches_root())) for path in patches_root().rglob("series")
        )
        raise FixError(f"No series for {upstream} {base}; there is {', '.join(there) or 'none'}.")
    names = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines()]
    names = [name for name in names if name and not name.startswith("#")]
    present = {path.name for path in folder.glob("*.patch")}
    if present != set(names):
        odd = ", ".join(sorted(present ^ set(names)))
        raise FixError(f"{listing} and the folder disagree about {odd}.")
    return [Patch.read(folder / name) for name in names]


def every_series() -> list[tuple[str, str]]:
    """What there are patches for, as (upstream package, base release)."""
    listings = sorted(patches_root().rglob("series"))
    return [(path.parent.parent.name, path.parent.name) for path in listings]


def every_patch() -> list[Patch]:
    """All patches, series after series, in the order they apply in."""
    return [patch for one in every_series() for patch in series(*one)]


def with_requirements(slugs: Iterable[str], among: Sequence[Patch]) -> list[Patch]:
    """Patches and what they require, in the order they apply in.

    Args:
        slugs: The fixes whose patches are wanted.
        among: A series.

    Returns:
        The patches.

    Raises:
        FixError: There is no patch for a slug, or for one that a patch requires.
    """
    by_slug = {patch.slug: patch for patch in among}
    wanted: set[str] = set()
    pending = list(slugs)
    while pending:
        slug = pending.pop()
        if slug in wanted:
            continue
        if slug not in by_slug:
            raise FixError(f"No patch is called {slug!r}.{nearest(slug, by_slug)}")
        wanted.add(slug)
        pending += by_slug[slug].requires
    return [patch for patch in among if patch.slug in wanted]
