"""The output folder: whole files or none, nothing outside it, nothing left of an earlier study.

What is written is listed in `state/written.json`. Files of an earlier run that this run did not write
again are removed; files of others are never touched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tl_ext.activations import store
from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.errors import OutputError
from tl_ext.report.marks import Mark

_LIST = "state/written.json"


@dataclass
class Output:
    """A folder being written.

    Attributes:
        folder: The folder.
        written: Files of this run, relative to it.
    """

    folder: Path
    written: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: str | Path) -> Output:
        """Make the folder where it is missing.

        Raises:
            OutputError: It is a file, or cannot be made.
        """
        path = Path(folder).expanduser()
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; a folder to write into is expected.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be made: {error.strerror or error}.") from error
        return cls(path)

    def state(self, name: str) -> Path:
        """Where the tensors of one part are kept."""
        return self.folder / "state" / f"{name}.safetensors"

    def table(self, name: str, table: pd.DataFrame) -> str:
        """Write a table; its place relative to the folder."""
        place = f"tables/{name}.csv"
        store.save_table(self.folder / place, table)
        self.written.append(place)
        return place

    def picture(self, name: str, mark: Mark) -> str | None:
        """Write a mark's picture; its place, or None for a mark that is text."""
        if ".png" not in mark.suffixes:
            return None
        place = f"figures/{name}.png"
        (self.folder / "figures").mkdir(exist_ok=True)
        mark.save(self.folder / place)  # whole or not at all by itself
        self.written.append(place)
        return place

    def examples(self, found: LatentExamples) -> None:
        """Write the examples of every latent."""
        folder = found.save(self.folder / "examples")
        self.written += [f"examples/{one.name}" for one in folder.iterdir()]

    def json(self, name: str, value: object) -> None:
        """Write JSON; what is not finite becomes null."""
        text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
        with store.replacing(self.folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        self.written.append(name)

    def close(self) -> None:
        """Remove what an earlier run wrote and this one did not, and note what this one wrote."""
        noted = self.folder / _LIST
        try:
            before = json.loads(noted.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = []
        for place in set(before) - set(self.written):
            if Path(place).parts[0] in ("tables", "figures", "examples") and ".." not in place:
                (self.folder / place).unlink(missing_ok=True)
        with store.replacing(noted) as temporary:
            temporary.write_text(json.dumps(sorted(set(self.written))), encoding="utf-8")


def table_json(table: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON values: names of columns, and rows."""
    columns = (table[column].tolist() for column in table.columns)
    return {
        "columns": list(table.columns),
        "rows": [list(row) for row in zip(*columns, strict=True)],
    }


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor pandas' NA."""
    if value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
