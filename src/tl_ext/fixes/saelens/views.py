"""What upstream's code is handed in place of an object of its own, some attributes of which are others."""

from __future__ import annotations

from typing import Any


class View:
    """An object of which some attributes are others; what is written goes to the object itself."""

    def __init__(self, of: Any, /, **instead: Any) -> None:
        """Make one.

        Args:
            of: The object.
            instead: The attributes that are others here.
        """
        vars(self).update(instead, _of=of)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of, name, value)
