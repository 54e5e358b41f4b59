"""Keeps out of a process what its libraries import and it never uses.

The worker imports this before anything that would bring them; all of it is 0.7 MiB of
every worker.

- Put off until somebody asks it for something: ``ipaddress`` (``pathlib`` brings it by
  way of ``urllib.parse``), ``selectors`` (``socket``), ``msgspec.inspect`` (JSON
  schemas).
- Hidden from msgspec: ``typing_extensions``, where it is installed. The two names that
  are taken from it, ``typing`` has as well since Python 3.11. Whoever else wants it
  gets it afterwards.
"""

import importlib
import sys
import threading
from types import ModuleType

_giving_way = threading.Lock()
"""Of two threads the second must not take away what the first has begun to load."""


class _Later(ModuleType):
    """Stands for a module until it is asked for something.

    The standard library's lazy loader gives way at the second ``import`` already.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        with _giving_way:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def put_off(name: str) -> None:
    """Let a module be loaded at its first use, if it is not loaded yet."""
    sys.modules.setdefault(name, _Later(name))


def import_without(name: str, hidden: str) -> None:
    """Import a module as if another were not installed, where neither is loaded yet."""
    if name in sys.modules or hidden in sys.modules:
        return
    # The import system takes it for a module that is not there.
    sys.modules[hidden] = None  # type: ignore[assignment]
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[hidden]


for _name in ("ipaddress", "selectors", "msgspec.inspect"):
    put_off(_name)
import_without("msgspec", "typing_extensions")
