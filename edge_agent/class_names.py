"""Names of a model file's classes: a text file with one name a line.

A ``.tflite`` file does not tell them; a bundle folder does. Used by ``edge-agent run``
and ``infer``.
"""

from pathlib import Path

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import read_regular
from edge_agent.errors import AgentError

MAX_BYTES = 1 << 20
MAX_NAME = 128


class ClassNamesError(AgentError):
    """A file of class names that cannot be used."""

    exit_code = ExitCode.USAGE


def refuse_names_of_bundle(model: Path, labels: Path | None) -> None:
    """Refuse class names for a bundle folder, which brings its own.

    Raises:
        ClassNamesError: Both are given (``AGENT-LABELS-003``).
    """
    if labels is not None and model.is_dir():
        raise ClassNamesError(
            "AGENT-LABELS-003",
            f"{model} is a bundle, which names its classes itself",
            cure="leave out --labels",
        )


def read_class_names(path: Path | None) -> tuple[str, ...]:
    """Read the names in the order of the model's classes; none without a file.

    Raises:
        ClassNamesError: It cannot be read, or holds a name twice, an empty one, or
            one that is too long (``AGENT-LABELS-002``).
    """
    if path is None:
        return ()
    try:
        text = read_regular(path, MAX_BYTES, follow=True).decode()
    except (OSError, ValueError) as error:
        raise _bad(path, str(error)) from error
    names = tuple(map(str.strip, text.splitlines()))
    if not names or len(set(names)) < len(names):
        raise _bad(path, "it is empty or too large, or has a name twice")
    for number, name in enumerate(names, 1):
        if not 0 < len(name) <= MAX_NAME:
            raise _bad(path, f"line {number}: a name has 1 to {MAX_NAME} characters")
    return names


def _bad(path: Path, why: str) -> ClassNamesError:
    return ClassNamesError(
        "AGENT-LABELS-002",
        f"{path}: {why}",
        cure="write one class name a line, in the order of the model's output",
    )
