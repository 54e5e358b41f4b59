"""An unmodified gRPC client of the protocol (Triton's) against the real worker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.fakes.agent_hub import free_port
from tests.fakes.worker_device import LABELS, Device, samples, wait_for

Rows = np.ndarray[Any, Any]


def _serve(folder: Path, more: str = "") -> tuple[Device, str]:
    address = f"127.0.0.1:{free_port()}"
    made = Device(folder)
    with made.config.open("a") as file:
        file.write(f'[api]\ngrpc = "{address}"\n{more}')
    made.assign(active=1, previous=2)
    made.start()
    return made, address


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Device, str]]:
    """A device with releases 1 (active) and 2, and its address."""
    device, address = _serve(tmp_path_factory.mktemp("device"))
    yield device, address
    assert device.stop() == 0


@pytest.fixture(scope="module")
def device(serving: tuple[Device, str]) -> Device:
    """The device."""
    return serving[0]


@pytest.fixture(scope="module")
def client(
    serving: tuple[Device, str],
) -> Iterator[triton.InferenceServerClient]:
    """The client, with its connection."""
    with triton.InferenceServerClient(serving[1]) as made:
        wait_for(lambda: _holds(made.is_server_live))
        yield made


@pytest.fixture
def stub(
    serving: tuple[Device, str],
) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """The protocol's own stub, for what the client does not send."""
    with grpc.insecure_channel(serving[1]) as channel:
        # gRPC may come up after the framed socket.
        grpc.channel_ready_future(channel).result(timeout=30)
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def _holds(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except InferenceServerException:
        return False


def _input(rows: Rows, name: str = "x") -> triton.InferInput:
    kinds = {"float32": "FP32", "float64": "FP64", "int8": "INT8"}
    made = triton.InferInput(name, rows.shape, kinds[rows.dtype.name])
    made.set_data_from_numpy(rows)
    return made


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Live, ready, versions, tensors, extensions and the index."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("tiny", "3")
    assert client.get_server_metadata().name == "shoal"
    model = client.get_model_metadata("tiny")
    assert list(model.versions) == ["1", "2"]
    assert (model.inputs[0].name, model.inputs[0].datatype) == ("x", "FP32")
    assert list(model.inputs[0].shape) == [-1, 100, 6]
    index = client.get_model_repository_index().models
    assert [(m.name, m.version, m.state) for m in index] == [
        ("tiny", "1", "READY"),
        ("tiny", "2", "READY"),
    ]


def test_inference_gives_the_framed_sockets_numbers(
    device: Device, client: triton.InferenceServerClient
) -> None:
    """With id, version and parameters; all outputs, or those asked for."""
    row = samples(1)
    reply = client.infer("tiny", [_input(row)], request_id="s1")
    framed = device.client.infer("f", row[0])
    np.testing.assert_array_equal(
        reply.as_numpy("probabilities"), np.array([framed.probabilities], np.float32)
    )
    message = reply.get_response()
    assert (message.id, message.model_version) == ("s1", "1")
    assert message.parameters["served_by"].string_param == "active"
    assert message.parameters["release"].int64_param == 1
    assert message.parameters["label"].string_param == framed.label
    assert [o.name for o in message.outputs] == ["probabilities", "embedding", "energy"]
    reply = client.infer(
        "tiny",
        [_input(samples(3).astype(np.float64))],
        model_version="2",
        outputs=[triton.InferRequestedOutput("probabilities", class_count=2)],
    )
    assert reply.get_response().model_version == "2"
    best = reply.as_numpy("probabilities")
    assert best.shape == (3, 2)
    assert best[0][0].decode().split(":")[2] in LABELS


def test_tensors_may_come_in_typed_fields(
    device: Device, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    """As other clients send them; a value beyond its datatype is refused."""
    row = samples(1)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=row.shape)
    tensor.contents.fp32_contents.extend(row.ravel().tolist())
    reply = stub.ModelInfer(request)
    found = np.frombuffer(reply.raw_output_contents[0], np.float32)
    framed = device.client.infer("f", row[0])
    assert found.tolist() == framed.probabilities
    tensor.datatype = "INT8"
    tensor.contents.int_contents.extend([0] * 599 + [128])
    with pytest.raises(grpc.RpcError, match="AGENT-OIP-001"):
        stub.ModelInfer(request)


@pytest.mark.parametrize(
    ("asked", "tensor", "said"),
    [
        (("other", ""), _input(samples(1)), "NOT_FOUND AGENT-OIP-004"),
        (("tiny", "9"), _input(samples(1)), "NOT_FOUND AGENT-OIP-004"),
        (("tiny", ""), _input(samples(1), "y"), "INVALID_ARGUMENT AGENT-OIP-005"),
        (("tiny", ""), _input(samples(1)[:, :9]), "INVALID_ARGUMENT AGENT-SAMPLE-001"),
        (
            ("tiny", ""),
            _input(samples(1) * np.nan),
            "INVALID_ARGUMENT AGENT-SAMPLE-001",
        ),
    ],
    ids=["model", "version", "name", "shape", "nan"],
)
def test_refusals_are_the_clients_own_exception(
    client: triton.InferenceServerClient,
    asked: tuple[str, str],
    tensor: triton.InferInput,
    said: str,
) -> None:
    """With gRPC's status, and a text that holds our code."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer(asked[0], [tensor], model_version=asked[1])
    status = caught.value.status().removeprefix("StatusCode.")
    assert f"{status} {caught.value.message()}".startswith(said)


def test_other_methods_are_not_there(client: triton.InferenceServerClient) -> None:
    """What a device does not offer is unimplemented, not broken."""
    with pytest.raises(InferenceServerException, match="Method not found"):
        client.get_inference_statistics()


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    """In the metadata of every call."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    device, address = _serve(tmp_path, 'token_file = "token"\n')
    try:
        with triton.InferenceServerClient(address) as client:
            wait_for(lambda: _refused(client))
            with pytest.raises(InferenceServerException, match="AGENT-HTTP-012"):
                client.is_server_ready()
            assert client.is_server_ready(headers={"authorization": "Bearer s3cret"})
    finally:
        device.kill()


def _refused(client: triton.InferenceServerClient) -> bool:
    try:
        client.is_server_live()
    except InferenceServerException as error:
        return "UNAUTHENTICATED" in str(error.status())
    return False
