"""Reading a model made elsewhere: a TFLite file as it is, others converted.

TensorFlow is loaded for SavedModel folders and Keras files only.
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.regular import open_regular, read_regular
from edge_agent.wire.manifest import MAX_ARTIFACT_BYTES, MAX_LABELS
from trainer.errors import DataError
from trainer.native_output import native_output_to

SEED = 7
MAX_LABELS_BYTES = 8 << 20
MAX_SOURCE_BYTES = 4 << 30
"""Of a Keras file, or of all files of a SavedModel."""
_KERAS = (".keras", ".h5")
_NO_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A model and what is known of it. ``shapes`` are of one sample, by input."""

    source: Path
    name: str = ""
    task: str = ""
    labels: Path | None = None
    samples: Path | None = None
    signature: str = ""
    shapes: Mapping[str, Sequence[int]]
    axes: tuple[str, ...] = ()
    rate_hz: float = 0.0
    hop: int = 0
    low: float | None = None
    high: float | None = None
    flat_rows: int = 0


def name_of(source: Path) -> str:
    """Return a model's name: the file's, in the letters that names may have."""
    name = _NO_NAME.sub("-", source.stem.lower()).strip("-._")
    return name[:64] or "model"


def read_labels(path: Path | None) -> tuple[str, ...]:
    """Read class names, one a line; none without a file.

    Raises:
        DataError: They cannot be used (``TRAINER-IMPORT-007``).
    """
    if path is None:
        return ()
    try:
        text = read_regular(path, MAX_LABELS_BYTES, follow=True).decode()
        names = tuple(map(str.strip, text.splitlines()))
    except (OSError, ValueError) as error:
        raise _bad_labels(path, str(error)) from error
    if not 2 <= len(names) <= MAX_LABELS or len(set(names)) < len(names):  # noqa: PLR2004
        raise _bad_labels(path, f"{len(names)} names, or a name twice")
    if not all(0 < len(name) <= 128 for name in names):  # noqa: PLR2004 - the contract's
        raise _bad_labels(path, "a name has 1 to 128 characters")
    return names


def read_model(foreign: Foreign) -> tuple[bytes, dict[str, str]]:
    """Return the TFLite file, and with what it was made if it was not one.

    Raises:
        DataError: It is no model (``TRAINER-IMPORT-001``), needs TensorFlow
            (``-002``), or cannot be converted (``-003`` to ``-005``).
    """
    source = foreign.source
    if source.is_dir() or source.suffix.lower() in _KERAS:
        return _convert(foreign)
    try:
        data = read_regular(source, MAX_ARTIFACT_BYTES, follow=True)
    except OSError as error:
        raise DataError("TRAINER-IMPORT-001", f"{source}: {error}") from error
    if data[4:8] != b"TFL3" or len(data) > MAX_ARTIFACT_BYTES:
        raise DataError(
            "TRAINER-IMPORT-001",
            f"{source} is no TFLite file of at most {MAX_ARTIFACT_BYTES >> 20} MiB",
            cure="give a .tflite or .keras file, or a SavedModel folder",
        )
    return data, {}


def _convert(foreign: Foreign) -> tuple[bytes, dict[str, str]]:
    source = foreign.source
    if source.is_dir() and not (source / "saved_model.pb").is_file():
        raise DataError(
            "TRAINER-IMPORT-001", f"{source} is no SavedModel: it has no saved_model.pb"
        )
    _refuse_odd_files(source)
    with (
        tempfile.TemporaryDirectory() as folder,
        native_output_to(Path(folder) / "native.log"),
    ):
        try:
            from trainer.pipeline.session import start_tensorflow, versions

            start_tensorflow(SEED)
        except ModuleNotFoundError as error:
            raise DataError(
                "TRAINER-IMPORT-002",
                f"{source} needs {error.name}, which is not installed",
                cure="pip install 'shoal[trainer]', or convert it to .tflite",
            ) from error
        from trainer.pipeline.foreign import convert_keras, convert_saved_model

        if source.is_dir():
            data = convert_saved_model(source, foreign.signature)
        else:
            data = convert_keras(source, foreign.shapes)
        return data, versions()


def _refuse_odd_files(source: Path) -> None:
    """Refuse what would keep TensorFlow reading for ever; links may lead to files.

    Raises:
        DataError: A file is none, or all are too large (``TRAINER-IMPORT-001``).
    """
    left = MAX_SOURCE_BYTES
    found = sorted(source.rglob("*")) if source.is_dir() else [source]
    try:
        for path in found:
            if not path.is_dir():
                with open_regular(path, left, follow=True) as file:
                    left -= os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError("TRAINER-IMPORT-001", str(error)) from error


def _bad_labels(path: Path, why: str) -> DataError:
    return DataError(
        "TRAINER-IMPORT-007",
        f"{path}: {why}",
        cure="write one class name a line, in the order of the model's output",
    )
