"""Whatever is sent to a real worker's HTTP API, it never fails and never ends."""

import copy
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.worker_device import Device, wait_for

DEADLINE_S = 20.0
INFER = b"/v2/models/tiny/infer"
SETTINGS = settings(max_examples=300, deadline=None)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=10,
)
EDGE = ANY | st.sampled_from(
    [
        [],
        [1],
        [2, 100, 6],
        [600],
        [[[0.5]]],
        [0.5] * 1200,
        0.5,
        -1,
        2**70,
        1e300,
        "FP64",
        "INT8",
        "BOOL",
        "BYTES",
        {"binary_data_size": 2400},
        {"binary_data_size": -1},
        {"classification": 3},
        {"binary_data_output": True},
        [{"name": "energy"}],
        [{"name": "energy", "parameters": {"classification": 3}}],
    ]
)
PLACES: list[tuple[str | int, ...]] = [
    ("id",),
    ("parameters",),
    ("outputs",),
    ("outputs", 0, "parameters"),
    ("inputs",),
    ("inputs", 0),
    ("inputs", 0, "name"),
    ("inputs", 0, "datatype"),
    ("inputs", 0, "shape"),
    ("inputs", 0, "data"),
    ("inputs", 0, "parameters"),
]


def _put(document: object, place: tuple[Any, ...], value: object) -> None:
    for step in place[:-1]:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step in range(len(document)):
            document = document[step]
    if isinstance(document, dict):
        # A copy: what is put into it next must not change what is drawn later.
        document[place[-1]] = copy.deepcopy(value)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """A request that is right, but for what was put into it."""
    document = {
        "id": "s",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 100, 6], "data": [0.5] * 600}
        ],
        "outputs": [{"name": "probabilities"}],
    }
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
        _put(document, place, draw(EDGE))
    body = json.dumps(document).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, min(len(body), 120)))
        put = draw(st.sampled_from([b"\xff", b"[", b"\x00", b"", b'"']))
        body = body[:at] + put + body[at + 1 :]
    return body + draw(st.sampled_from([b"", bytes(2400), b"x"]))


TARGET = st.sampled_from(
    [
        INFER,
        b"/v2/models/tiny/versions/1/infer",
        b"/v2/models/tiny/versions/%ff/infer",
        b"/v2/models/tiny",
        b"/v2/repository/index",
        b"/feedback",
        b"/metrics",
        b"/v2/health/ready",
        b"//v2/../%2e",
    ]
)
FIELD = st.sampled_from(
    [
        b"Inference-Header-Content-Length: 2",
        b"Inference-Header-Content-Length: 99",
        b"Inference-Header-Content-Length: x",
        b"Inference-Header-Content-Length: \xb2",
        b"Content-Encoding: gzip",
        b"Content-Type: text/plain",
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Origin: null",
    ]
)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device that lives as long as the module's tests."""
    made = Device(tmp_path_factory.mktemp("device"))
    made.start()
    wait_for((made.state / "http.sock").exists)
    yield made
    assert made.process is not None
    assert made.process.poll() is None, "the worker died"
    assert made.stop() == 0


def _exchange(device: Device, sent: bytes) -> bytes:
    """Send bytes and an end; return all that is answered."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(DEADLINE_S)
        raw.connect(str(device.state / "http.sock"))
        answer = b""
        try:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(1 << 16):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            pass
    return answer


def _check(answer: bytes) -> None:
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in answer
    assert b"Traceback" not in answer


def _framed(first: bytes, fields: list[bytes], body: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    head = [first + b" HTTP/1.1", b"Host: localhost", length, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@SETTINGS
@given(_bodies(), st.none() | st.integers(0, 3000))
def test_no_inference_request_makes_it_fail(
    device: Device, body: bytes, length: int | None
) -> None:
    """Each has an answer, and 500 is none of them."""
    fields = [] if length is None else [b"Inference-Header-Content-Length: %d" % length]
    answer = _exchange(device, _framed(b"POST " + INFER, fields, body))

    assert answer
    _check(answer)


@SETTINGS
@given(
    st.sampled_from([b"GET ", b"POST ", b"HEAD ", b"PUT "]),
    TARGET,
    st.lists(FIELD, max_size=2, unique=True),
    st.binary(max_size=300) | ANY.map(lambda one: json.dumps(one).encode()),
)
def test_no_target_field_or_body_makes_it_fail(
    device: Device, method: bytes, target: bytes, fields: list[bytes], body: bytes
) -> None:
    """The same for every route and for fields that nobody expects."""
    answer = _exchange(device, _framed(method + target, fields, body))

    assert answer
    _check(answer)


@SETTINGS
@given(
    st.binary(max_size=400)
    | st.lists(
        st.sampled_from(
            [
                b"POST " + INFER + b" HTTP/1.1\r\n",
                b"GET /v2 HTTP/1.1\r\n",
                b"Host: a\r\n",
                b"Content-Length: 2\r\n",
                b"Content-Length: 99999999999\r\n",
                b"\r\n",
                b"{}",
                b"\n",
            ]
        )
        | st.binary(max_size=20),
        max_size=12,
    ).map(b"".join)
)
def test_no_bytes_make_it_fail(device: Device, sent: bytes) -> None:
    """Broken, repeated, cut and glued requests are answered or dropped."""
    _check(_exchange(device, sent))
    assert _exchange(
        device, b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ).startswith(b"HTTP/1.1 200 ")
