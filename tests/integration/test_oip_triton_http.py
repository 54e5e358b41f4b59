"""An unmodified Open Inference Protocol client (Triton's) against the real worker."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.fakes.agent_hub import free_port
from tests.fakes.worker_device import LABELS, Device, samples, wait_for


@pytest.fixture(scope="module")
def port() -> int:
    """A port that is free."""
    return free_port()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Device]:
    """A device with releases 1 (active) and 2, serving on the port."""
    made = Device(tmp_path_factory.mktemp("device"))
    with made.config.open("a") as file:
        file.write(f'[api]\nhttp = "127.0.0.1:{port}"\n')
    made.assign(active=1, previous=2)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def client(device: Device, port: int) -> Iterator[triton.InferenceServerClient]:
    """The client, with its connection."""
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
        wait_for(lambda: _is_live(made))
        yield made


def _is_live(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_live())
    except OSError:
        return False


def _input(rows: "np.ndarray[Any, Any]", *, binary: bool = True) -> triton.InferInput:
    names = {"float32": "FP32", "float64": "FP64", "int8": "INT8"}
    made = triton.InferInput("x", rows.shape, names[rows.dtype.name])
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Live, ready, versions, tensors, extensions and the index."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("tiny", "3")
    assert not client.is_model_ready("other")
    server = client.get_server_metadata()
    assert server["name"] == "shoal"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("tiny")
    assert model["versions"] == ["1", "2"]
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 100, 6]}]
    assert model["outputs"][0] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [-1, 7],
    }
    index = client.get_model_repository_index()
    assert [(m["name"], m["version"], m["state"]) for m in index] == [
        ("tiny", "1", "READY"),
        ("tiny", "2", "READY"),
    ]


@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("binary_in", [True, False])
def test_inference_as_bytes_and_as_json(
    device: Device,
    client: triton.InferenceServerClient,
    binary_in: bool,  # noqa: FBT001
    binary_out: bool | None,  # noqa: FBT001
) -> None:
    """Every way gives the very numbers that the framed socket gives."""
    row = samples(1)
    wanted = None
    if binary_out is not None:
        names = ("probabilities", "energy")
        wanted = [
            triton.InferRequestedOutput(name, binary_data=binary_out) for name in names
        ]
    reply = client.infer(
        "tiny", [_input(row, binary=binary_in)], outputs=wanted, request_id="s1"
    )

    framed = device.client.infer("f", row[0])
    np.testing.assert_array_equal(
        reply.as_numpy("probabilities"), np.array([framed.probabilities], np.float32)
    )
    assert reply.as_numpy("energy").shape == (1, 1)
    document = reply.get_response()
    assert (document["id"], document["model_version"]) == ("s1", "1")
    assert document["parameters"]["served_by"] == "active"
    assert document["parameters"]["label"] == framed.label


def test_versions_rows_and_classification(client: triton.InferenceServerClient) -> None:
    """The release before by its number, several rows at once, and names of classes."""
    rows = samples(3)
    reply = client.infer(
        "tiny",
        [_input(rows)],
        model_version="2",
        outputs=[triton.InferRequestedOutput("probabilities", class_count=2)],
    )
    assert reply.get_response()["model_version"] == "2"
    best = reply.as_numpy("probabilities")
    assert best.shape == (3, 2)
    value, index, label = best[0][0].decode().split(":")
    assert 0 < float(value) <= 1
    assert label == LABELS[int(index)]
    doubles = client.infer("tiny", [_input(rows.astype(np.float64))])
    assert doubles.as_numpy("probabilities").shape == (3, 7)


@pytest.mark.parametrize(
    ("asked", "rows", "said"),
    [
        (("other", ""), samples(1), "404 AGENT-OIP-004"),
        (("tiny", "9"), samples(1), "404 AGENT-OIP-004"),
        (("tiny", ""), samples(1)[:, :9], "422 AGENT-SAMPLE-001: shape"),
        (("tiny", ""), samples(1) * np.nan, "422 AGENT-SAMPLE-001: not_finite"),
        (("tiny", ""), np.zeros((1, 2), np.int8), "422 AGENT-SAMPLE-001: dtype"),
    ],
    ids=["model", "version", "shape", "nan", "dtype"],
)
def test_refusals_are_the_clients_own_exception(
    client: triton.InferenceServerClient,
    asked: tuple[str, str],
    rows: "np.ndarray[Any, Any]",
    said: str,
) -> None:
    """With the status, and a text that holds our code."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer(asked[0], [_input(rows)], model_version=asked[1])
    assert f"{caught.value.status()} {caught.value.message()}".startswith(said)


def test_texts_and_compression_are_refused_clearly(
    client: triton.InferenceServerClient,
) -> None:
    """BYTES by its name, a compressed body by its field."""
    text = triton.InferInput("x", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"a"], dtype=object))
    with pytest.raises(InferenceServerException, match=r"AGENT-OIP-003.*BYTES"):
        client.infer("tiny", [text])
    with pytest.raises(InferenceServerException, match="AGENT-HTTP-015"):
        client.infer("tiny", [_input(samples(1))], request_compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match="AGENT-OIP-006"):
        client.infer(
            "tiny",
            [_input(samples(1))],
            outputs=[triton.InferRequestedOutput("nothing")],
        )


@pytest.mark.usefixtures("client")
def test_many_requests_at_once(port: int) -> None:
    """The client's own asynchronous requests, over several connections."""
    with triton.InferenceServerClient(f"127.0.0.1:{port}", concurrency=8) as many:
        rows = samples(64)
        asked = [
            many.async_infer("tiny", [_input(rows[n : n + 1])], request_id=f"a{n}")
            for n in range(64)
        ]
        ids = [one.get_result().get_response()["id"] for one in asked]
    assert ids == [f"a{n}" for n in range(64)]
