"""Frames of a camera, the newest first: at a rate, never more than the model takes.

The capture is a port (:class:`Capture`); OpenCV is behind it, an extra (``[camera]``)
that is imported when a camera is opened and nowhere else. A frame is given to the
model as it is, RGB from 0 to 255: resizing and scaling are the model's job. Its size is
asked of the camera; one of another size is rejected by its shape. A camera that ends
(also a video file at its end) is opened again, ever more slowly while it fails.
"""

import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_agent.base.backoff import Backoff
from edge_agent.config_flows import CameraSource, kind_of, name_of
from edge_agent.errors import AgentError
from edge_agent.serve.files.image_file import channels_of
from edge_agent.serve.joined import Joined
from edge_agent.serve.sources.newest import Newest
from edge_agent.serve.sources.pace import Pace
from edge_agent.serve.sources.port import Intake, SourcePorts
from edge_agent.serve.windowing import Override, Windower, as_sample, fit_windowing
from edge_agent.wire.manifest import InputContract

CAMERA_OPEN = "source.camera.open"
CAMERA_LOST = "source.camera.lost"
DEPTH = 2
TAKE_S = 0.5
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 30.0

log = logging.getLogger(__name__)

Frame = NDArray[np.uint8]


class Capture(Protocol):
    """An open camera."""

    is_live: bool
    """Whether frames come by themselves, and wait for nobody."""

    def skip(self) -> bool:
        """Take a frame and forget it; false: there is none any more."""
        ...

    def read(self) -> Frame | None:
        """Return the next frame, ``(height, width, 3)`` in RGB, or the end."""
        ...

    def close(self) -> None:
        """Free the camera."""
        ...


OpenCapture = Callable[[str, tuple[int, int]], Capture]
"""Open a device and ask it for a height and width.

Raises:
    AgentError: OpenCV is not installed, or the device cannot be opened.
"""


class Camera:
    """The camera source."""

    def __init__(
        self,
        config: CameraSource,
        folder: Path,
        ports: SourcePorts,
        open_capture: OpenCapture,
    ) -> None:
        """Prepare; nothing is opened before :meth:`run`."""
        self.name, self.kind = name_of(config), kind_of(config)
        self.problem = ""
        file = folder / config.device
        self._device = str(file) if file.is_file() else config.device
        self._override = Override(length=config.length, hop=config.hop)
        self._period_s = 1.0 / config.rate
        self._ports = ports
        self._open = open_capture
        self._intake = Intake(name=self.name, ports=ports)
        self.counters = self._intake.counters
        self._frames: Newest[Frame] = Newest(DEPTH)
        self._windower: Windower | None = None
        self._contract: InputContract | None = None
        self._last = 0

    def run(self, stop: threading.Event) -> None:
        """Infer the newest frames until told to stop."""
        self._ports.spawn(f"camera-{self.name}", lambda: self._capture(stop))
        while not stop.is_set():
            taken = self._frames.take(TAKE_S)
            self._intake.drop(self._frames.dropped())
            contract = self._ports.contract()
            if taken is None or contract is None:
                continue
            try:
                self._infer(*taken, contract)
            except ValueError as error:
                self.problem = str(error)
                self.counters.rejected += 1

    def _infer(self, number: int, frame: Frame, contract: InputContract) -> None:
        pixels = in_channels(frame, contract)
        if contract != self._contract or self._windower is None:
            cut = fit_windowing(contract, pixels.shape, self._override)
            self._windower, self._contract = Windower(cut), contract
        if number != self._last + 1:
            self._windower.reset()
        self._last = number
        for offset, window in self._windower.push(pixels[np.newaxis]):
            self._intake.offer(f"{self.name}@{offset}", as_sample(window, contract))

    def _capture(self, stop: threading.Event) -> None:
        """Open and read the camera, again and again; body of a thread of its own."""
        backoff, draw = Backoff(RETRY_FIRST_S, RETRY_MAX_S), random.SystemRandom()
        while not stop.is_set():
            contract = self._ports.contract()
            if contract is None:
                stop.wait(TAKE_S)
                continue
            try:
                capture = self._open(self._device, _size_of(contract))
            except (AgentError, ValueError) as error:
                self._lose(str(error))
            else:
                try:
                    if self._read(stop, capture):
                        backoff.reset()
                finally:
                    capture.close()
            stop.wait(backoff.next_s(draw.random()))

    def _read(self, stop: threading.Event, capture: Capture) -> bool:
        """Read until the end; true if there was a frame."""
        pace, number = Pace(self._ports.clock), 0
        log.info(CAMERA_OPEN, extra={"device": self._device})
        while not stop.is_set():
            if not self._wait(stop, capture, pace.wait_s(self._period_s)):
                break
            frame = capture.read()
            if frame is None:
                break
            number, self.problem = number + 1, ""
            self._frames.put(frame)
        if not stop.is_set() and not number:
            self._lose("it is open and gives no frame")
        return number > 0

    def _wait(self, stop: threading.Event, capture: Capture, wait_s: float) -> bool:
        """Wait for the next frame's time; false at the end."""
        if not capture.is_live:
            return not stop.wait(wait_s)
        due = self._ports.clock.mono() + wait_s
        while self._ports.clock.mono() < due and not stop.is_set():
            # Frames that nobody wants must be taken, or all later ones are old.
            if not capture.skip():
                return False
        return not stop.is_set()

    def _lose(self, why: str) -> None:
        if not self.problem:
            log.warning(CAMERA_LOST, extra={"device": self._device, "why": why})
        self.problem = why


def in_channels(frame: Frame, contract: InputContract) -> NDArray[np.float32]:
    """Return a frame as float32, 0 to 255, with as many channels as the input has.

    Raises:
        ValueError: The input is no image, or has an alpha channel.
    """
    shape = contract.tensor.shape
    floats = frame.astype(np.float32)
    wanted = channels_of(_image_of(contract))
    if wanted == frame.shape[-1]:
        return floats
    if wanted != 1:
        raise ValueError(f"a camera has no {wanted} channels")
    grey: NDArray[np.float32] = np.rint(floats @ _LUMA).astype(np.float32)
    return grey[..., np.newaxis] if shape[-1] == 1 else grey


_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as in Pillow's and OpenCV's conversions."""
_MAX_AXES = 3


def _image_of(contract: InputContract) -> InputContract:
    """Return the contract of one frame where a sample is several."""
    shape = contract.tensor.shape
    if len(shape) <= _MAX_AXES:
        return contract
    tensor = replace(contract.tensor, shape=shape[1:])
    return replace(contract, tensor=tensor)


def _size_of(contract: InputContract) -> tuple[int, int]:
    if isinstance(contract, Joined):
        raise AgentError(
            "AGENT-SOURCE-004",
            f"the model takes {', '.join(contract.names)}, and a camera has one input",
            cure="feed it over the local API",
        )
    image = _image_of(contract)
    channels_of(image)
    height, width = image.tensor.shape[:2]
    return height, width
