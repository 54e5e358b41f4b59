"""Where a net's training starts: anew, or from the incumbent's weights.

A bundle carries its net's weights, as they were before conversion, in the order of the
net's variables. They are data of a bundle: shapes are checked before anything is read,
nothing is unpickled, and weights that do not fit are no error but a reason to start
anew, as a task's net may have changed since. Called by :mod:`trainer.pipeline.train`.
"""

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.settings import Scope

HIDDEN = "hidden"
_NAME = "w{:04d}"
_HEADERS_BYTES = 4096
"""What the header of one array may take in its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The weights to go on from, and which of them may change."""

    weights: bytes
    scope: Scope


def pack_weights(model: Any) -> bytes:  # noqa: ANN401 - keras has no types
    """Return all weights of a net; the same net gives the same bytes."""
    file = io.BytesIO()
    arrays = model.get_weights()
    np.savez_compressed(file, **{_NAME.format(n): a for n, a in enumerate(arrays)})
    return file.getvalue()


def begin_from(model: Any, start: Start) -> str:  # noqa: ANN401 - keras has no types
    """Give a net the start's weights, and freeze what is not to change.

    Returns:
        Why that could not be done; the net is as it was then.
    """
    own = model.get_weights()
    try:
        found = _read_weights(start.weights, own)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        return f"the incumbent's weights do not fit this net ({error})"
    model.set_weights(found)
    for layer in model.layers:
        # Normalization keeps what it uses beside its weights.
        getattr(layer, "finalize_state", _nothing)()
    _freeze(model, start.scope)
    return ""


def _read_weights(data: bytes, own: list[np.ndarray]) -> list[np.ndarray]:
    """Read arrays of the very shapes of ``own``."""
    most = sum(array.nbytes + _HEADERS_BYTES for array in own)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > most:
            raise ValueError("they are larger")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        if len(arrays.files) != len(own):
            raise ValueError(f"{len(arrays.files)} arrays, not {len(own)}")
        found = [arrays[_NAME.format(place)] for place in range(len(own))]
    for place, (array, mine) in enumerate(zip(found, own, strict=True)):
        if array.shape != mine.shape or array.dtype != mine.dtype:
            raise ValueError(f"array {place} is {array.shape}, not {mine.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"array {place} is not finite")
    return found


def _freeze(model: Any, scope: Scope) -> None:  # noqa: ANN401 - keras has no types
    """Let only a scope's layers learn; a frozen normalization keeps its figures."""
    from keras.layers import BatchNormalization

    names = [layer.name for layer in model.layers]
    head = set(names[names.index(HIDDEN) :])
    for layer in model.layers:
        layer.trainable = (
            scope == "full"
            or layer.name in head
            or (scope == "bn_head" and isinstance(layer, BatchNormalization))
        )


def _nothing() -> None:
    """Most layers have nothing to finish."""
