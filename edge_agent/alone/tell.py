"""How to send a request to a model that is served: three lines that can be pasted.

Small samples are written out; of a large one an example lies in a file. Pure but for
that file.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.runtime.telling import trial_sample
from edge_agent.serve.oip.datatypes import datatype_of
from edge_agent.store.disk import write_durably
from edge_agent.wire.manifest import Bundle, InputContract

REQUEST_FILE = "request.json"
SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is served, and where."""

    bundle: Bundle
    folder: Path
    socket: Path
    http: str


def request_lines(serving: Serving) -> list[str]:
    """Return what is served and how to ask it, by HTTP and on the socket.

    Raises:
        StoreError: The example cannot be written.
    """
    bundle = serving.bundle
    inputs = ", ".join(map(_describe, bundle.inputs))
    answers = f"{len(bundle.labels)} classes" if bundle.labels else "numbers"
    who = f"{bundle.name} (release 0, sha256 {bundle.model.sha256[:12]}…)"
    lines = [f"serving {who}: {inputs} -> {answers}"]
    if serving.http:
        url = f"http://{serving.http}/v2/models/{bundle.name}/infer"
        lines.append(f"curl -s {url} -d {_body(serving)}")
    what = f"SAMPLE.csv    # rows of {_row(bundle.input)}"
    if len(bundle.inputs) > 1:
        names = ", ".join(one.tensor.name for one in bundle.inputs)
        what = f"SAMPLE.npz    # one array for each input: {names}"
    lines.append(f"edge-agent infer --socket {serving.socket} --input {what}")
    return lines


def example_request(bundle: Bundle) -> bytes:
    """Return a request of the Open Inference Protocol that the model answers."""
    sample = trial_sample(bundle.inputs)
    inputs = [
        {
            "name": name,
            "shape": [1, *values.shape],
            "datatype": datatype_of(values.dtype),
            "data": np.ravel(values).tolist(),
        }
        for name, values in sample.items()
    ]
    return msgspec.json.encode({"inputs": inputs})


def _body(serving: Serving) -> str:
    body = example_request(serving.bundle)
    values = sum(math.prod(one.tensor.shape) for one in serving.bundle.inputs)
    if values <= SHOWN:
        return f"'{body.decode()}'"
    path = serving.folder / REQUEST_FILE
    write_durably(path, body)
    return f"@{path}"


def _describe(contract: InputContract) -> str:
    tensor = contract.tensor
    return f"{tensor.name} {tensor.dtype} {tensor.shape}"


def _row(contract: InputContract) -> str:
    shape = contract.tensor.shape
    return f"{shape[-1] if shape else 1} numbers"
