"""`python -m tl_ext` is `tl-ext`, by the Python that is asked."""

from __future__ import annotations

from tl_ext.cli import app

if __name__ == "__main__":
    app(prog_name="python -m tl_ext")
