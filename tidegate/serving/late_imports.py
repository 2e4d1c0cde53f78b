"""What libraries import and a server never uses: loaded when first something of it is read.

``import kserve`` brings its client of the Kubernetes API and two hundred models of its objects,
its conversions bring pandas, and SciPy a reader of Fortran: most of the time of a start.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def import_for_scoring(*, trees: bool) -> None:
    """Import SciPy and, where a model is made of trees, XGBoost, without what training asks of it.

    XGBoost then has no estimators in scikit-learn's manner, as where that is not installed.
    """
    import numpy as np

    # SciPy reads every name of NumPy, and so this one.
    with put_off(f"{np.__name__}.f2py"):
        import scipy.sparse  # noqa: F401
    if trees:
        with absent("sklearn"):
            import xgboost  # noqa: F401


@contextmanager
def kserve_for_serving() -> Iterator[None]:
    """Let KServe's server be imported, inside the block, without its client."""
    late_body("kserve")
    # HTTPX has a way without its command line, which not everybody installs.
    with put_off("pandas"), absent("httpx._main"):
        yield


class _LatePackage(ModuleType):
    """A package whose modules can be imported, and whose own body runs when a name of it is read.

    It is the package that everybody gets, then and later.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks any module for
            raise AttributeError(name)
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        loader: Any = self.__loader__
        loader.exec_module(self)
        return getattr(self, name)


def late_body(package: str) -> None:
    """Let the modules of a package be imported without what its ``__init__`` imports.

    A package that is loaded already stays as it is.

    Parameters
    ----------
    package : str
        Top-level package.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    found = importlib.util.module_from_spec(spec)
    found.__class__ = _LatePackage
    sys.modules[package] = found


class _StandIn(ModuleType):
    """Stands for a module: nameless types while others are imported, the module itself later."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return type(name, (), {})
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def put_off(module: str) -> Iterator[None]:
    """Let ``import module``, inside the block, load nothing until it is used.

    Inside, what is read of it is a type without content, which does for annotations and for
    nothing else. After the block the module is imported as ever, by whoever asks; those who asked
    inside have one that loads when it is read. A module that is loaded already stays as it is.

    Parameters
    ----------
    module : str
        Dotted name; the package of a submodule must be loaded.
    """
    if module in sys.modules:
        yield
        return
    stand_in = _StandIn(module)
    package, _, name = module.rpartition(".")
    holders = [sys.modules[package].__dict__] if package else []
    for holder in holders:
        holder[name] = stand_in
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        del sys.modules[module]
        for holder in holders:
            del holder[name]


@contextmanager
def absent(module: str) -> Iterator[None]:
    """Let the import of a module fail inside the block, where its importer has a way without it.

    A module that is loaded already stays as it is.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
