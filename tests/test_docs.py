"""What the README and the documentation show is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="no docs beside an installed package")


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(page: Path, **names: Any) -> dict[str, Any]:
    """The Python of a page, block after block as one session."""
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    return names


def test_the_readme_s_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert len(example.strip().splitlines()) == 10
    run(ROOT / "README.md")
    printed = capsys.readouterr().out
    assert "latent" in printed and "activation" in printed


@pytest.mark.slow
def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(DOCS / "tutorial.md")
    assert "shared" in capsys.readouterr().out
    assert len(names["written"].texts) == 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_can_be_read(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.parametrize("name", ["tutorial.md", "concepts.md"])
def test_the_yaml_shown_can_be_loaded(name: str, tmp_path: Path) -> None:
    from tl_ext import load_concepts

    (source,) = blocks(DOCS / name, "yaml")
    file = tmp_path / "concepts.yaml"
    file.write_text(source, encoding="utf-8")
    assert {one.name for one in load_concepts(file)} == {"proud"}


def commands() -> list[Any]:
    """Every `tl-ext` command line shown anywhere."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "--" in words:  # what follows is for the script that is run
                    words = words[: words.index("--")]
                if words[:1] == ["tl-ext"]:
                    found.append(pytest.param(words[1:], id=f"{page.stem}: {' '.join(words[1:])}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_commands_shown_exist_with_their_options(words: list[str]) -> None:
    import typer

    from tl_ext.cli import app

    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands") or not words, f"no command {words}"
    options = {option for parameter in command.params for option in parameter.opts}
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    assert used <= options, f"{command.name} has no {used - options}; it has {options}"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def commands(page: Path) -> list[list[str]]:
    """The `tl-ext` commands that a page or a module shows, as words."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    if page.suffix == ".py":
        found = re.findall(r"Examples?: (tl-ext .*?)(?:\n\n|\n *" '")', text, re.DOTALL)
    else:
        found = re.findall(r"^tl-ext .*", "\n".join(blocks_of(text)), re.MULTILINE)
    return [shlex.split(one, comments=True) for one in found]


def blocks_of(text: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


SHOWN = [*PAGES, *sorted((ROOT / "src" / "tl_ext" / "cli").glob("*.py"))]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    from tl_ext.cli import app

    for words in commands(page):
        group: Any = typer.main.get_command(app)
        place = 1
        while hasattr(group, "commands") and place < len(words):
            assert words[place] in group.commands, " ".join(words)
            group, place = group.commands[words[place]], place + 1
        known = {name for option in group.params for name in option.opts}
        own = words[place : words.index("--") if "--" in words else None]
        given = {word for word in own if re.fullmatch(r"-[a-z]|--[a-z-]+", word)}
        assert given <= known, " ".join(words)


def test_every_command_is_shown_somewhere() -> None:
    from tl_ext.cli import app

    group: Any = typer.main.get_command(app)
    shown = {words[1] for page in PAGES for words in commands(page)}
    assert set(group.commands) - {"plugins", "fixes"} <= shown
