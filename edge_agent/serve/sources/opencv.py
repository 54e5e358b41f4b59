"""Cameras and video files through OpenCV: the only file that imports it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.errors import AgentError
from edge_agent.serve.sources.camera import Frame

if TYPE_CHECKING:
    import cv2


class OpenCvCapture:
    """One open device; see :class:`~edge_agent.serve.sources.camera.Capture`."""

    def __init__(self, capture: "cv2.VideoCapture", *, is_live: bool) -> None:
        """Take over an open capture."""
        self._capture = capture
        self.is_live = is_live

    def skip(self) -> bool:
        """Take a frame and forget it; false: there is none any more."""
        return bool(self._capture.grab())

    def read(self) -> Frame | None:
        """Return the next frame in RGB, or the end."""
        ok, frame = self._capture.read()
        if not ok:
            return None
        return np.ascontiguousarray(frame[..., ::-1], np.uint8)

    def close(self) -> None:
        """Free the camera."""
        self._capture.release()


def open_camera(device: str, size: tuple[int, int]) -> OpenCvCapture:
    """Open a camera by its number, a device, a video file or an address.

    Args:
        device: Such as ``0``, ``/dev/video0``, ``door.mp4``, ``rtsp://…``.
        size: Height and width to ask for; the camera may not have it.

    Raises:
        AgentError: OpenCV is not installed (``AGENT-SOURCE-002``), or the device
            cannot be opened (``AGENT-SOURCE-003``).
    """
    try:
        import cv2
    except ImportError as error:
        raise AgentError(
            "AGENT-SOURCE-002",
            "cameras need OpenCV, which is not installed",
            cure="pip install 'shoal[camera]'",
        ) from error
    is_file = Path(device).is_file()
    capture = cv2.VideoCapture(int(device) if device.isdecimal() else device)
    if not capture.isOpened():
        capture.release()
        raise AgentError(
            "AGENT-SOURCE-003",
            f"camera {device} cannot be opened",
            cure="is it there, free, and may this user open it (group video)?",
            retryable=True,
        )
    if not is_file:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
    return OpenCvCapture(capture, is_live=not is_file)
