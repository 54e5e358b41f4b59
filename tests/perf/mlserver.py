"""MLServer as a peer: another Python server of the Open Inference Protocol.

It gets an environment of its own (it wants FastAPI and much else), a runtime of fifteen
lines that calls LiteRT as we do, and no worker processes beside its own.
"""

import json
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.fakes.agent_hub import free_port, wait_for
from tests.perf.processes import family_rss_bytes

PACKAGES = ("mlserver==1.7.1", "ai-edge-litert>=2.1", "backports-strenum<1.3")
START_S = 120.0
RUNTIME = """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class LiteRt(MLModel):
    async def load(self):
        path = self.settings.parameters.uri
        self._model = Interpreter(model_path=path, num_threads=1)
        self._model.allocate_tensors()
        self._input = self._model.get_input_details()[0]["index"]
        self._output = self._model.get_output_details()[0]["index"]
        return True

    async def predict(self, payload):
        x = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        self._model.set_tensor(self._input, x.astype(np.float32, copy=False))
        self._model.invoke()
        made = self._model.get_tensor(self._output)
        outputs = [NumpyCodec.encode_output("probabilities", made)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running server: its HTTP port, and the memory of all its processes."""

    port: int
    pid: int

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the server and its children."""
        return family_rss_bytes(self.pid)


@contextmanager
def running_mlserver(
    cache: Path, folder: Path, models: dict[str, Path]
) -> Iterator[Peer]:
    """Serve models by name on loopback; the environment is kept in ``cache``."""
    program = _environment(cache)
    port = _configure(folder, models)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "start", folder],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"PATH": str(program.parent), "PYTHONPATH": str(folder)},
        )
    try:
        wait_for(lambda: _is_ready(port), "MLServer", timeout_s=START_S)
        yield Peer(port=port, pid=server.pid)
    finally:
        server.terminate()
        server.wait()


def _environment(cache: Path) -> Path:
    folder = cache / "mlserver"
    program = folder / "bin" / "mlserver"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)
        (folder / "complete").touch()
    return program


def _configure(folder: Path, models: dict[str, Path]) -> int:
    folder.mkdir(parents=True)
    (folder / "litert_runtime.py").write_text(RUNTIME, "utf-8")
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    settings = {"parallel_workers": 0, "host": "127.0.0.1", "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    for name, path in models.items():
        document = {
            "name": name,
            "implementation": "litert_runtime.LiteRt",
            "parameters": {"uri": str(path.resolve())},
        }
        (folder / name).mkdir()
        file = folder / name / "model-settings.json"
        file.write_text(json.dumps(document), "utf-8")
    return ports["http_port"]


def _is_ready(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/v2/health/ready")
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK
