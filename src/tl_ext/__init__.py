"""tl_ext: a plugin extension to TransformerLens and SAELens.

The public names are listed once, in the stub beside this file, and each is loaded when it is first
used: importing `tl_ext` loads neither torch nor pandas, and changes nothing.
"""

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("tl-ext")
    return _load(name)
