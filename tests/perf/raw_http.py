"""The least HTTP client: one connection, requests made beforehand, bodies by length.

It is the same for every server that is measured, so what differs is the server.
"""

import json
import socket
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class RawHttp:
    """One keep-alive connection to a server on loopback or on a Unix socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        """Connect to ``(host, port)``, or to the path of a Unix socket."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.connect(address)
        if family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, request: bytes) -> bytes:
        """Send a whole request and return the body of its answer.

        Raises:
            AssertionError: The answer is not 200, or the connection ended.
        """
        self._socket.sendall(request)
        data = self._socket.recv(1 << 16)
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), data[:300]
        lines = head.lower().split(b"\r\n")
        length = next(
            int(line[15:]) for line in lines if line.startswith(b"content-length:")
        )
        while len(body) < length:
            more = self._socket.recv(1 << 16)
            assert more, "the connection ended inside an answer"
            body += more
        return body


def json_request(model: str, sample: NDArray[np.float32]) -> bytes:
    """Return a request for one sample in JSON."""
    return _request(model, json.dumps(_document(sample, sample.ravel().tolist())), b"")


def binary_request(model: str, sample: NDArray[np.float32]) -> bytes:
    """Return a request for one sample whose tensors travel as bytes, both ways."""
    data = sample.astype("<f4").tobytes()
    document = _document(sample, None)
    document["inputs"][0]["parameters"] = {"binary_data_size": len(data)}
    document["parameters"] = {"binary_data_output": True}
    return _request(model, json.dumps(document), data)


def _document(sample: NDArray[np.float32], data: list[float] | None) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": "x",
        "shape": [1, *sample.shape],
        "datatype": "FP32",
    }
    if data is not None:
        tensor["data"] = data
    return {"inputs": [tensor]}


def _request(model: str, header: str, data: bytes) -> bytes:
    lines = [
        f"POST /v2/models/{model}/infer HTTP/1.1",
        "Host: localhost",
        "Content-Type: " + ("application/octet-stream" if data else "application/json"),
        f"Content-Length: {len(header) + len(data)}",
    ]
    if data:
        lines.append(f"Inference-Header-Content-Length: {len(header)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + header).encode() + data
