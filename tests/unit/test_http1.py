"""Requests of HTTP/1.1 as bytes: what is taken, and what could mean two things."""

import pytest

from edge_agent.serve.oip.http1 import MAX_FIELDS, Response, parse_head, render
from edge_agent.serve.oip.http_reader import BodyBudget
from edge_agent.serve.oip.refusal import RefusedError

HOST = b"\r\nHost: localhost:8080"


def test_a_request_is_read() -> None:
    """Method, target, fields, the length of its body and what the client expects."""
    head = parse_head(
        b"POST /v2/models/tiny/infer?a=1 HTTP/1.1"
        b"\r\nHost: localhost\r\nContent-Length:12\r\nX-Any: \t some thing \t"
        b"\r\nExpect: 100-Continue\r\nX-Any: more"
    )

    assert (head.method, head.target) == ("POST", "/v2/models/tiny/infer?a=1")
    assert head.fields["x-any"] == "some thing, more"
    assert (head.body_bytes, head.expects_continue, head.keep_alive) == (12, True, True)


@pytest.mark.parametrize(
    ("version", "field", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"\r\nConnection: keep-alive", True),
        (b"1.1", b"\r\nConnection: Upgrade, Close", False),
        (b"1.0", b"", False),
        (b"1.0", b"\r\nConnection: Keep-Alive", True),
        (b"1.0", b"\r\nConnection: keep-alive, close", False),
    ],
)
def test_who_keeps_the_connection(version: bytes, field: bytes, keeps: object) -> None:
    """1.1 keeps it unless told otherwise, 1.0 only when told."""
    assert parse_head(b"GET / HTTP/" + version + HOST + field).keep_alive is keeps


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1" + HOST, 400),
        (b"get / HTTP/1.1" + HOST, 400),
        (b"GET http://a/ HTTP/1.1" + HOST, 400),
        (b"GET /\xff HTTP/1.1" + HOST, 400),
        (b"GET /" + b"a" * 1024 + b" HTTP/1.1" + HOST, 400),
        (b"GET / HTTP/2.0" + HOST, 505),
        (b"GET / HTTP/1.10" + HOST, 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1" + HOST * 2, 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\n folded", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nA : b", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nA: b\nB: c", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nA: b\rB: c", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nA: \x00", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\n: b", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nnothing", 400),
        (b"GET / HTTP/1.1" + HOST + b"\r\nA: b" * MAX_FIELDS, 431),
        (b"POST / HTTP/1.1" + HOST + b"\r\nContent-Length: -1", 400),
        (b"POST / HTTP/1.1" + HOST + b"\r\nContent-Length: 1_0", 400),
        (b"POST / HTTP/1.1" + HOST + b"\r\nContent-Length:", 400),
        (b"POST / HTTP/1.1" + HOST + b"\r\nContent-Length: 1, 1", 400),
        (b"POST / HTTP/1.1" + HOST + b"\r\nContent-Length: 1" * 2, 400),
        (b"POST / HTTP/1.1" + HOST + b"\r\nTransfer-Encoding: chunked", 411),
        (b"POST / HTTP/1.1" + HOST + b"\r\nExpect: miracles", 417),
    ],
)
def test_what_could_mean_two_things_is_refused(head: bytes, status: int) -> None:
    """Each with the status that the standard has for it."""
    with pytest.raises(RefusedError) as caught:
        parse_head(head)
    assert caught.value.status == status
    assert caught.value.code.startswith("AGENT-HTTP-")


def test_a_response_says_its_length_and_whether_it_is_the_last() -> None:
    """Its extra fields come along; the answer to HEAD has no body."""
    response = Response(body=b"{}", fields=[("Allow", "GET")])
    assert render(response, keep_alive=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        b"Allow: GET\r\nConnection: close\r\n\r\n{}"
    )
    without = render(response, keep_alive=True, with_body=False)
    assert without.endswith(b"Content-Length: 2\r\nAllow: GET\r\n\r\n")


def test_the_room_for_bodies_is_given_back() -> None:
    """Also of a request that fails; else a device would refuse all after a while."""
    budget = BodyBudget(10, 10)
    for _ in range(3):
        with pytest.raises(RuntimeError), budget.hold(10):
            raise RuntimeError
    with budget.hold(6), pytest.raises(RefusedError), budget.hold(5):
        pass
    with budget.hold(10):
        pass
