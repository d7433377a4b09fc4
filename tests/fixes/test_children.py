"""A call in a process of its own: what comes back, and what does not reach the caller."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tl_ext.errors import FixError
from tl_ext.fixes.children import Children

HERE = "tests.fixes.test_children"


def surroundings(word: str) -> dict[str, object]:
    print("said", word)
    print("whispered", word, file=sys.stderr)
    return {"pid": os.getpid(), "cwd": os.getcwd(), "first": sys.path[0], "stdin": sys.stdin.read()}


def change_everything() -> list[str]:
    sys.path.append("changed")
    sys.modules["made_in_a_child"] = sys
    os.environ["MADE_IN_A_CHILD"] = "1"
    return [name for name in ("made_in_a_child",) if name in sys.modules]


def unchanged() -> bool:
    return not (
        "changed" in sys.path or "made_in_a_child" in sys.modules or "MADE_IN_A_CHILD" in os.environ
    )


def stop(how: str) -> None:
    print("about to stop")
    sys.stdout.flush()
    if how == "raise":
        raise KeyError("lost")
    if how == "exit":
        sys.exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("fork", [True, False])
def test_a_call_has_its_own_process_folder_and_output(fork: bool, tmp_path: Path) -> None:
    with Children(("json", "no_module_of_this_name"), fork=fork) as children:
        first, second = (
            children.call(f"{HERE}:surroundings", word, path=[tmp_path], cwd=tmp_path)
            for word in ("a", "ß")
        )
        assert first.error == second.error == ""
        assert first.result["pid"] != second.result["pid"]
        assert first.result["cwd"] == first.result["first"] == str(tmp_path.resolve())
        assert first.result["stdin"] == ""
        assert "said a" in first.output and "whispered ß" in second.output
        assert children.call(f"{HERE}:change_everything").result
        assert children.call(f"{HERE}:unchanged").result


def test_a_call_that_does_not_return_says_why() -> None:
    with Children(()) as children:
        for how, told in (
            ("raise", "KeyError: 'lost'"),
            ("exit", "SystemExit: 3"),
            ("kill", "status -15"),
            ("sleep", "more than 5 s"),
        ):
            timeout = 5 if how == "sleep" else 60  # a busy machine takes a second to begin
            outcome = children.call(f"{HERE}:stop", how, timeout=timeout)
            assert outcome.result is None and told in outcome.error
            assert "about to stop" in outcome.output
        assert children.call(f"{HERE}:unchanged").result


def test_a_process_that_died_is_told_and_another_takes_its_place() -> None:
    with Children((), fork=False) as children:
        with pytest.raises(FixError, match=r"stop ended with status -15"):
            children.call(f"{HERE}:stop", "kill")
        assert children.call(f"{HERE}:unchanged").result
