"""Models of many kinds over the Open Inference Protocol, asked by other clients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from edge_agent.engine import Engine
from edge_agent.runtime.telling import ModelContract
from edge_agent.serve.oip.datatypes import datatype_of
from tests.fakes.agent_hub import free_port
from tests.fakes.kind_release import KINDS, draw_samples, write_kind
from tests.fakes.worker_device import Device, wait_for

SERVED = ("pump", "pump-int8", "kinds", "half")


class Serving:
    """A device whose release N is the Nth of the kinds."""

    def __init__(self, folder: Path) -> None:
        """Start it with the first."""
        self.device = Device(folder)
        self.http, self.grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        with self.device.config.open("a") as file:
            file.write(f'[api]\nhttp = "{self.http}"\ngrpc = "{self.grpc}"\n')
        self.contracts: dict[str, ModelContract] = {
            kind: write_kind(self.device.store, 10 + place, kind)
            for place, kind in enumerate(SERVED)
        }
        self.device.assign(active=10)
        self.device.start()

    def show(self, kind: str) -> ModelContract:
        """Make a kind the active release."""
        self.device.assign(active=10 + SERVED.index(kind))
        assert not self.device.client.reload().problem
        return self.contracts[kind]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A device that lives as long as the module's tests."""
    made = Serving(tmp_path_factory.mktemp("device"))
    yield made
    assert made.device.stop() == 0


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[triton.InferenceServerClient]:
    """An HTTP client."""
    with triton.InferenceServerClient(serving.http) as made:
        wait_for(lambda: _is_live(made))
        yield made


def _is_live(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_live())
    except OSError:
        return False


def _inputs(
    module: Any,  # noqa: ANN401 - either client
    arrays: dict[str, NDArray[Any]],
    **how: bool,
) -> list[Any]:
    made = []
    for name, array in arrays.items():
        made.append(
            module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        )
        made[-1].set_data_from_numpy(array, **how)
    return made


def _batch(samples: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([one[name] for one in samples]) for name in samples[0]}


@pytest.mark.parametrize("kind", SERVED)
def test_each_kind_answers_as_its_engine_does(
    serving: Serving, client: triton.InferenceServerClient, kind: str
) -> None:
    """Over HTTP as JSON and as bytes, and over gRPC, in its own datatypes."""
    contract = serving.show(kind)
    samples = draw_samples(contract, 3)
    engine = Engine.open(KINDS / f"{kind}.tflite")
    wanted = [engine.predict(one).outputs for one in samples]
    arrays = _batch(samples)

    metadata = client.get_model_metadata(kind)
    assert {one["name"]: one["datatype"] for one in metadata["inputs"]} == {
        one.tensor.name: datatype_of(one.tensor.dtype) for one in contract.inputs
    }
    half = any(array.dtype == np.float16 for array in arrays.values())
    replies = [client.infer(kind, _inputs(triton, arrays, binary_data=True))]
    if not half:
        # This client has no JSON for FP16.
        replies.append(client.infer(kind, _inputs(triton, arrays, binary_data=False)))
    with triton_grpc.InferenceServerClient(serving.grpc) as other:
        wait_for(lambda: _grpc_is_live(other))
        replies.append(other.infer(kind, _inputs(triton_grpc, arrays)))
    for reply in replies:
        for tensor in contract.outputs:
            found = reply.as_numpy(tensor.name)
            stacked = np.stack([one[tensor.name] for one in wanted])
            assert found.dtype == stacked.dtype
            np.testing.assert_array_equal(found, stacked)


def _grpc_is_live(client: triton_grpc.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_live())
    except InferenceServerException:
        return False


def test_an_answer_without_classes_has_no_label(
    serving: Serving, client: triton.InferenceServerClient
) -> None:
    """And takes none as feedback; the sample is remembered all the same."""
    contract = serving.show("pump")
    arrays = _batch(draw_samples(contract, 1))
    reply = client.infer("pump", _inputs(triton, arrays), request_id="s1")
    parameters = reply.get_response()["parameters"]
    assert parameters == {"served_by": "active", "release": 10, "sample_id": "s1"}
    assert serving.device.client.recent()[-1].sample_id == "s1"


def test_several_inputs_must_fit_each_other(
    serving: Serving, client: triton.InferenceServerClient
) -> None:
    """All of them, by name, with as many samples each; and each one is checked."""
    contract = serving.show("pump")
    arrays = _batch(draw_samples(contract, 2))
    flow, level = arrays["flow"], arrays["level"]
    refusals: list[tuple[dict[str, NDArray[Any]], str]] = [
        ({"flow": flow}, "AGENT-OIP-005"),
        ({"flow": flow, "other": level}, "AGENT-OIP-005"),
        ({"flow": flow, "level": level[:1]}, "AGENT-OIP-005"),
        ({"flow": flow, "level": level[:0]}, "AGENT-OIP-001"),
        ({"flow": flow[:, :3], "level": level}, "row 0: .*shape"),
        ({"flow": flow, "level": level * np.float32(np.nan)}, "row 0: .*NaN"),
    ]
    for wrong, why in refusals:
        with pytest.raises(InferenceServerException, match=why):
            client.infer("pump", _inputs(triton, wrong))
    swapped = {"level": level, "flow": flow}
    assert client.infer("pump", _inputs(triton, swapped)).as_numpy("load").shape == (
        2,
        1,
    )
