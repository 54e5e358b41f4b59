"""Which packages are installed, told without importing them.

The worker and the supervisor ask. A version is read off the name of a metadata folder:
``importlib.metadata`` loads parsers of e-mail and of archives, 2.4 MiB of memory, and
is left to installations that name their folders otherwise.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
"""Interpreters in the order in which they are looked for."""
METADATA = ".dist-info"


BACKEND_VARIABLE = "SHOAL_BACKEND"
"""Environment variable that names the backend, for a process and its children."""
INTERPRETER, COMPILED = "interpreter", "compiled"


def chosen_backend(environment: Mapping[str, str] = os.environ) -> str:
    """Return the backend that the environment names; the interpreter by default."""
    compiled = environment.get(BACKEND_VARIABLE) == COMPILED
    return COMPILED if compiled else INTERPRETER


def use_backend(name: str) -> None:
    """Let this process and its children use a backend; the default changes nothing."""
    if name != INTERPRETER:
        os.environ[BACKEND_VARIABLE] = name


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, or ""."""
    return _by_folder(distribution) or _by_metadata(distribution)


def installed_runtime() -> str:
    """Return name and version of the interpreter that would be loaded ("": none)."""
    return _runtime(_by_folder) or _runtime(_by_metadata)


def agent_version() -> str:
    """Return the agent's version, ``source`` where it is not installed."""
    return installed_version("shoal") or "source"


def _runtime(look: Callable[[str], str]) -> str:
    for name in RUNTIMES:
        if found := look(name):
            return f"{name} {found}"
    return ""


def _by_folder(distribution: str) -> str:
    """Look for ``name-version.dist-info`` where modules are looked for."""
    start = distribution.replace("-", "_") + "-"
    for place in sys.path:
        for folder in Path(place).glob(f"{start}*{METADATA}"):
            return folder.name.removeprefix(start).removesuffix(METADATA)
    return ""


def _by_metadata(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
