"""Frames of the local API: they come back whole, and nothing else crashes a reader."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import WorkerError
from edge_agent.serve.parts import check_data
from edge_agent.serve.protocol import (
    LENGTH,
    Feedback,
    Infer,
    Recent,
    Request,
    decode_frame,
    encode_frame,
    read_length,
    request_decoder,
)

IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)
REQUESTS = st.one_of(
    st.builds(
        Infer,
        sample_id=IDS,
        shape=st.lists(st.integers(1, 1 << 22), max_size=8),
    ),
    st.builds(Feedback, sample_id=IDS, label=IDS),
    st.builds(Recent, after=st.integers(0, 2**53), limit=st.integers(1, 1000)),
)


def _refusal(body: bytes) -> str:
    """Return the code that a body is refused with, or ""."""
    try:
        check_data(*decode_frame(body, request_decoder))
    except WorkerError as error:
        return error.code
    return ""


@given(REQUESTS, st.binary(max_size=200))
def test_a_frame_comes_back_whole(request: Request, data: bytes) -> None:
    """Whatever is framed is read back as it was."""
    frame = encode_frame(request, data)
    assert read_length(frame[: LENGTH.size]) == len(frame) - LENGTH.size
    assert decode_frame(frame[LENGTH.size :], request_decoder) == (request, data)


@given(st.binary(min_size=4, max_size=300))
def test_random_bytes_are_a_message_or_a_refusal(body: bytes) -> None:
    """No bytes make the decoder raise anything but its own error."""
    assert _refusal(body) in {"", "AGENT-API-001", "AGENT-API-002"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["op", "shape", "infer"]), inner)
        ),
        max_leaves=5,
    ),
    st.binary(max_size=20),
)
def test_any_json_is_a_message_or_a_refusal(document: object, data: bytes) -> None:
    """Valid JSON of the wrong form is refused as such."""
    header = msgspec.json.encode(document)
    body = LENGTH.pack(len(header)) + header + data
    assert _refusal(body) in {"", "AGENT-API-002"}
