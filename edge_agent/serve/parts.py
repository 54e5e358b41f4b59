"""The data of ``infer``: one sample of float32, or one array for each named input.

All little-endian in C order, one after another in the order of the header's ``inputs``.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_agent.errors import WorkerError
from edge_agent.serve.protocol import BAD_REQUEST, Infer, Part, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Given = NDArray[Any] | Mapping[str, NDArray[Any]]


def check_data(request: Request, data: bytes) -> None:
    """Check that a request carries exactly the data that it announces.

    Raises:
        WorkerError: It does not.
    """
    wanted = 0
    if isinstance(request, Infer):
        parts = sum(part.bytes for part in request.inputs)
        wanted = parts if request.inputs else 4 * math.prod(request.shape)
    if len(data) != wanted:
        raise WorkerError(BAD_REQUEST, f"{len(data)} bytes of data, not {wanted}")


def infer_message(sample_id: str, sample: "Given") -> tuple[Infer, bytes]:
    """Return header and data of a request.

    Args:
        sample_id: The sample's id.
        sample: One array, which is sent as float32, or arrays by input, which keep
            their types.
    """
    import numpy as np

    if not isinstance(sample, Mapping):
        data = np.asarray(sample, "<f4", order="C").tobytes()
        return Infer(sample_id=sample_id, shape=list(sample.shape)), data
    arrays = {name: _little(np.asarray(array)) for name, array in sample.items()}
    parts = [
        Part(name=name, dtype=array.dtype.name, shape=list(array.shape))
        for name, array in arrays.items()
    ]
    data = b"".join(array.tobytes() for array in arrays.values())
    return Infer(sample_id=sample_id, inputs=parts), data


def sample_of(request: Infer, data: bytes) -> "Given":
    """Return the sample of a request whose data has the announced length."""
    import numpy as np

    if not request.inputs:
        return np.frombuffer(data, "<f4").reshape(request.shape)
    arrays, start = {}, 0
    for part in request.inputs:
        count = math.prod(part.shape)
        dtype = np.dtype(part.dtype).newbyteorder("<")
        array = np.frombuffer(data, dtype, count, start)
        start += count * dtype.itemsize
        # Numbers may begin anywhere in the frame; not every processor reads that.
        arrays[part.name] = array.reshape(part.shape).astype(part.dtype)
    return arrays


def _little(array: "NDArray[Any]") -> "NDArray[np.generic]":
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
