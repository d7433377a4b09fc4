"""Calls in processes of their own that have the heavy third parties loaded, and no upstream package.

Loading torch and transformers takes seconds, and what is loaded cannot be loaded again from elsewhere.
So one process loads them once and forks for every call; the fork may then import an upstream package
from whatever folder it is told. Where forking is not to be had each call starts a process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tl_ext.errors import FixError
from tl_ext.plugins.manager import resolve

HEAVY = (
    "torch.fx.experimental.symbolic_shapes",
    "transformers.trainer_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "pandas",
    "scipy.stats",
    "wandb",
    "einops",
    "jaxtyping",
    "sentencepiece",
    "pytest",
)
"""What the upstream packages import from others; a name that is not installed is left out."""

_SETTINGS = {
    "TL_EXT_PLUGINS": "",  # a plugin may import upstream
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}
# A fork of a process in which the system's frameworks have threads is not safe there.
_FORKS = hasattr(os, "fork") and sys.platform != "darwin"
_TAIL = 8000


@dataclass(frozen=True)
class Outcome:
    """How a call went.

    Attributes:
        result: What the function returned; None where it did not return.
        error: Why it did not return, in words; empty where it did.
        output: The end of what it wrote to stdout and stderr.
    """

    result: Any
    error: str
    output: str


class Children:
    """A process that forks for calls; a context manager.

    Args:
        preload: The modules to load once. None of them may be one that a call is to import from
            elsewhere.
        fork: Whether to fork; False starts a process for each call.
    """

    def __init__(self, preload: Sequence[str] = HEAVY, *, fork: bool = _FORKS) -> None:
        self._preload = tuple(preload)
        self._fork = fork
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def call(
        self,
        function: str,
        *arguments: Any,
        path: Sequence[Path] = (),
        cwd: Path | None = None,
        timeout: float = 600,
    ) -> Outcome:
        """Call a function in a process of its own.

        Args:
            function: Reference to it, `"module:function"`.
            arguments: JSON values.
            path: Folders to put before all others on `sys.path`.
            cwd: The folder to run in.
            timeout: After how many seconds to give up.

        Returns:
            How it went.

        Raises:
            FixError: The process that forks cannot be started, or died.
        """
        if self._process is None:
            self._process = self._start()
        request = {
            "function": function,
            "arguments": arguments,
            "path": [str(folder) for folder in path],
            "cwd": None if cwd is None else str(cwd),
            "timeout": timeout,
            "fork": self._fork,
        }
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not self._fork or not reply:
            self._stop()
        if not reply:
            raise FixError(
                f"The process that should run {function} ended with status {process.returncode}. "
                f"Run `{sys.executable} -c 'import {', '.join(self._preload)}'` to see why."
            )
        return Outcome(**json.loads(reply))

    def _start(self) -> subprocess.Popen[str]:
        # The same packages as here, this one included; where a script lies is of no account.
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONPATH": path} | _SETTINGS
        for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"):
            environment.pop(name, None)
        return subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()", *self._preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def _stop(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


def serve() -> None:
    """Load what the command line names, then answer requests from stdin until it ends."""
    # Replies go where stdout was; what anybody prints goes to stderr.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as result:
            error = (_forked if request["fork"] else _answer)(request, output, result)
            said = _read(result)
            reply = json.loads(said) if said else {"result": None, "error": error}
            reply["output"] = _read(output)[-_TAIL:]
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _forked(request: Mapping[str, Any], output: IO[bytes], result: IO[bytes]) -> str:
    """Answer in a fork; in words why there may be no answer."""
    child = os.fork()
    if child == 0:
        try:
            _answer(request, output, result)
        finally:
            # Not `sys.exit`: what waits to be done when Python ends is the parent's to do.
            os._exit(0)
    end = time.monotonic() + request["timeout"]
    pause = 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"its process ended with status {os.waitstatus_to_exitcode(status)}"
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return f"it took more than {request['timeout']} s"


def _answer(request: Mapping[str, Any], output: IO[bytes], result: IO[bytes]) -> str:
    """Call the function and write what it returns."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    try:
        with _in_folder(request["cwd"]):
            sys.path[:0] = request["path"]
            importlib.invalidate_caches()
            returned = resolve(request["function"])(*request["arguments"])
        answer = {"result": returned, "error": ""}
    except BaseException as error:
        traceback.print_exc()
        answer = {"result": None, "error": f"{type(error).__name__}: {error}"}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    result.write(json.dumps(answer).encode())
    result.flush()
    return ""


@contextlib.contextmanager
def _in_folder(folder: str | None) -> Iterator[None]:
    with contextlib.chdir(folder) if folder else contextlib.nullcontext():
        yield


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
