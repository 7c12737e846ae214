"""Find the tests that may download: those that use a release of mflux or its environment, also through helpers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
from mflux_port.checkout import releases

_PROJECT = Path(__file__).resolve().parents[1]
_DOWNLOADING = {"source", "checkout", "environment", "install", "cache_dir"}  # of ``releases``


def may_download(item: pytest.Function) -> bool:
    """Whether a test, one of its fixtures, or a function of this project that these call uses ``releases``."""
    fixtures = [fixture.func for found in item._fixtureinfo.name2fixturedefs.values() for fixture in found]
    waiting, seen = [item.function, *fixtures], set()
    while waiting:
        function = waiting.pop()
        if function in seen or not _is_ours(function):
            continue
        seen.add(function)
        names = set(_names(function.__code__))
        used = [function.__globals__[name] for name in names & function.__globals__.keys()]
        if any(value is releases for value in used) and names & _DOWNLOADING:
            return True
        waiting += [callee for value in used for callee in _functions(value, names)]
    return False


def _is_ours(function: Callable) -> bool:
    path = Path(getattr(getattr(function, "__code__", None), "co_filename", "/"))
    return path.is_relative_to(_PROJECT) and not path.is_relative_to(_PROJECT / ".venv")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function within the function
            yield from _names(constant)


def _functions(value: object, names: set[str]) -> list[FunctionType]:
    """A function itself, the methods of a class, or the functions among ``names`` of a module."""
    if isinstance(value, ModuleType):
        found = [vars(value).get(name) for name in names]
    else:
        found = list(vars(value).values()) if isinstance(value, type) else [value]
    return [one for one in found if isinstance(one, FunctionType)]
