"""What the files of the project must and must not be, whatever is in them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tl_ext"

# Paths of somebody's machine; written so that this file does not hold them itself.
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:work|home|Users|root|tmp/venvs|tmp/team)/\w+")
TEXT = {".py", ".pyi", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".html", ".css", ".js", ""}
LARGEST = 512 * 1024  # bytes, of a file that is no weights
WEIGHTS = 25 * 1000 * 1000  # bytes, of the shipped model altogether

# Rooms that are kept free for work to come, or whose tests lie elsewhere.
UNTESTED_ROOMS: set[str] = set()


@cache
def files() -> tuple[Path, ...]:
    """What git tracks; in an unpacked sdist, everything."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return tuple(
        path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()
    )


def is_weights(path: Path) -> bool:
    return (PACKAGE / "testbed" / "weights") in path.parents


def test_no_file_names_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files()
        if path.suffix in TEXT and not is_weights(path)
        for match in [MACHINE_PATHS.search(path.read_text(encoding="utf-8"))]
        if match
    ]
    assert not found


def test_no_file_is_too_large() -> None:
    large = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.stat().st_size > LARGEST and not is_weights(path) and "docs/assets" not in str(path)
    ]
    assert not large


def test_the_shipped_weights_stay_small() -> None:
    assert sum(path.stat().st_size for path in files() if is_weights(path)) < WEIGHTS


def test_source_files_fit_a_look() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 1000
    }
    assert not long, "split these, or say why not"


def test_every_room_has_tests() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - UNTESTED_ROOMS
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert rooms <= tested, f"no tests for {sorted(rooms - tested)}"


def test_tests_mirror_the_package() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - rooms <= {"meta", "planted", "wheel", "examples", "benchmarks"}


def test_nothing_reads_pickles() -> None:
    reads = re.compile(r"\btorch\.load\(|\bpickle\.loads?\(|weights_only=False")
    found = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if reads.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_nothing_is_fetched_by_the_page() -> None:
    fetched = re.compile(r"""(?:src|href)=["']https?://[^"']+\.(?:js|css|woff2?)|cdn\.|@import""")
    found = [
        str(path.relative_to(ROOT))
        for path in (PACKAGE / "report" / "templates").rglob("*")
        if path.is_file() and fetched.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_remote_code_is_never_trusted_unasked() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"trust_remote_code\s*=\s*True", path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_every_pin_is_one_version() -> None:
    for path in (ROOT / "constraints").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), f"{path.name}: {line}"


def test_saelens_needs_are_a_subset_of_the_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {
        re.split(r"[<>=\[]", one)[0].lower() for one in project["optional-dependencies"]["sae-deps"]
    }
    assert "transformer-lens" not in needed and "sae-lens" not in needed
    pins = (ROOT / "constraints" / "tl3.txt").read_text(encoding="utf-8")
    assert needed <= set(re.findall(r"^([a-z0-9-]+)==", pins, re.MULTILINE))


def test_the_changelog_knows_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in changelog
    assert f"version: {project['version']}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
