"""One function of somebody's source file, run by itself.

A bug in a file that no package installs is reproduced without importing the file: the function is
taken out of the text, with the functions of the same text that it calls, and defined among names of
ours. What else the file does on import does not happen; what the function does does, so a probe of
source files is for a tree whose code you would run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


def defined(source: str, name: str, names: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Define a function as a source text has it.

    Args:
        source: The text of a Python file, or of a notebook's cell.
        name: The function; where it is defined twice, the last one.
        names: What it finds under the names it uses. They stand before functions of the text that
            bear the same name.

    Returns:
        The function, without its decorators; None where the text does not define it, or is no
        Python.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        return None
    wanted, found = [name], dict[str, ast.stmt]()
    while wanted:
        one = wanted.pop()
        if one in functions and one not in found and (one == name or one not in names):
            found[one] = node = functions[one]
            node.decorator_list = []
            wanted += [used.id for used in ast.walk(node) if isinstance(used, ast.Name)]
    module = ast.Module(list(found.values()), type_ignores=[])
    namespace = dict(names)
    # Annotations stay text, as in this file: what they name need not be there.
    exec(compile(module, f"<{name}>", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def cells(notebook: Path) -> Iterator[str]:
    """The code of a notebook, cell by cell, without the lines that are for IPython.

    Args:
        notebook: An `.ipynb` file; one that is no notebook has no cells.

    Yields:
        The text of each code cell.
    """
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except ValueError:
        return
    for cell in content.get("cells", ()) if isinstance(content, dict) else ():
        if cell.get("cell_type") == "code":
            lines = "".join(cell.get("source", "")).splitlines()
            yield "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
