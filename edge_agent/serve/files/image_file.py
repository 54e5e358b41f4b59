"""Images as samples: decoded to height x width x channels, 0 to 255; no more.

Resizing and scaling are the model's job, in its graph, so that device and training
cannot differ; an image of another size than the input is rejected by its shape. The
number of channels is the input's. Pillow comes with the extra ``[images]``.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import AgentError
from edge_agent.serve.joined import Joined
from edge_agent.wire.manifest import InputContract

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
MAX_BYTES = 64 << 20
MAX_PIXELS = 32 << 20
_FORMATS = ("PNG", "JPEG", "BMP")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_COLOURED = 3


def channels_of(contract: InputContract) -> int:
    """Return how many channels the input's pixels have: 1, 3 or 4.

    Raises:
        ValueError: The input is no image.
    """
    shape = contract.tensor.shape
    if len(shape) == _COLOURED - 1:
        return 1
    if len(shape) != _COLOURED or shape[-1] not in _MODES:
        raise ValueError(_no_image(contract))
    return shape[-1]


def _no_image(contract: InputContract) -> str:
    if isinstance(contract, Joined):
        return f"the model takes {', '.join(contract.names)}: an image is one input"
    return f"the model takes samples of {contract.tensor.shape}, which are no images"


def read_image(path: Path, contract: InputContract) -> NDArray[Any]:
    """Return an image as float32 of ``(height, width, channels)``, 0 to 255.

    Without the last axis where the input has none.

    Raises:
        ValueError: It is no image, or too large a one.
        OSError: It cannot be read.
        AgentError: Pillow is not installed (``AGENT-SOURCE-001``).
    """
    mode = _MODES[channels_of(contract)]
    try:
        from PIL import Image
    except ImportError as error:
        raise AgentError(
            "AGENT-SOURCE-001",
            "images need Pillow, which is not installed",
            cure="pip install 'shoal[images]'",
        ) from error
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    data = io.BytesIO(path.read_bytes())
    try:
        with Image.open(data, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            pixels = np.asarray(image.convert(mode), np.float32)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image: {error}") from error
    if len(contract.tensor.shape) == _COLOURED and pixels.ndim < _COLOURED:
        return pixels[..., np.newaxis]
    return pixels
