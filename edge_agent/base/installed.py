"""Which packages are installed, told without importing them."""

from importlib.metadata import PackageNotFoundError, version

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
"""Interpreters in the order in which they are looked for."""


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, or ""."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def installed_runtime() -> str:
    """Return name and version of the interpreter that would be loaded ("": none)."""
    for name in RUNTIMES:
        if found := installed_version(name):
            return f"{name} {found}"
    return ""
