"""What KServe imports for its client and a server never uses: loaded when first something is read.

``import kserve`` brings its client of the Kubernetes API, with what that needs to log in to any
cloud. A server asks no API server for anything.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _LateModule(ModuleType):
    """Stands for a module, which is imported when first something of it is read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks any module for
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def put_off(package: str, *modules: str) -> Iterator[None]:
    """Let ``from package import module``, inside the block, load nothing until it is used.

    After the block the package is imported as ever, by whoever asks; those who asked inside have
    modules that load when read. A package that is loaded already stays as it is.

    Parameters
    ----------
    package : str
        Top-level package.
    modules : str
        All of its modules that are imported inside.
    """
    if package in sys.modules:
        yield
        return
    stand_in = ModuleType(package)
    for module in modules:
        setattr(stand_in, module, _LateModule(f"{package}.{module}"))
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        del sys.modules[package]
