"""``scripts/bench runtime``: what a prediction costs over the interpreter's own time.

Every way to ask is measured in turn, block by block, in one run, so what the machine
does beside hits all of them. A figure is the median over rounds of a block's median.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge_agent.engine import Engine
from edge_agent.serve.client import Client
from tests.perf.bare_process import bare_process
from tests.perf.mlserver import running_mlserver
from tests.perf.models import make_models
from tests.perf.raw_http import RawHttp, binary_request, json_request
from tests.perf.report import Metric, Rounds, medians
from tests.perf.served import Sample, Served, samples, serving

ROUNDS = 9
BLOCK = 300
JSON_BLOCK = 60
SHADOW_BLOCK = 3000
SETTLE = 200
COLD_STARTS = 5
CACHE = Path(".cache").resolve() / "bench"
MIB = 1 << 20
SMALL_US = 25.0
"""Below this a model is tiny, and a ratio says nothing."""
BARE = """\
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(model_content=open(sys.argv[1], "rb").read(), num_threads=1)
model.allocate_tensors()
place = model.get_input_details()[0]
for _ in range(100):
    model.set_tensor(place["index"], np.zeros(place["shape"], np.float32))
    model.invoke()
print(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
"""
Ask = Callable[[], object]


def measure(folder: Path) -> list[Metric]:
    """Measure everything; a folder in ``folder`` takes the workers' state."""
    models = make_models(CACHE / "models")
    metrics = [one for name in models for one in _in_process(name, models[name])]
    with TemporaryDirectory(dir=folder.resolve()) as made:
        home = Path(made)
        for name in ("ds_cnn", "mobilenet_025"):
            metrics += _local_apis(home / name, name, models[name])
        metrics += _memory(home / "memory", models["ds_cnn"])
        metrics += _cold_start(home / "cold", models["ds_cnn"])
        metrics += _shadow(home / "shadow", models["ds_cnn"])
    return metrics


def _in_process(name: str, path: Path) -> list[Metric]:
    """Compare ``Engine.predict`` with monitoring against set, invoke, get."""
    engine = Engine.open(path)
    raw, sample = _raw(path), samples(engine.inputs[0].shape, 1)[0]
    ways: dict[str, Ask] = {
        "raw": lambda: raw(sample),
        "predict": lambda: engine.predict(sample),
    }
    found = medians(lambda: _blocks(ways, BLOCK), ROUNDS)
    engine.close()
    ratio, extra = found["predict"] / found["raw"], found["predict"] - found["raw"]
    is_tiny = found["raw"] < SMALL_US
    return [
        Metric(name=f"{name}_raw", value=found["raw"], unit="us"),
        Metric(
            name=f"{name}_predict_ratio",
            value=ratio,
            unit="x raw",
            at_most=None if is_tiny else 1.15,
        ),
        Metric(
            name=f"{name}_predict_extra",
            value=extra,
            unit="us",
            at_most=5.0 if is_tiny else None,
        ),
    ]


def _raw(path: Path) -> Callable[[Sample], object]:
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_content=path.read_bytes(), num_threads=1)
    model.allocate_tensors()
    (place,) = (one["index"] for one in model.get_input_details())
    output = model.get_output_details()[0]["index"]

    def ask(sample: Sample) -> object:
        model.set_tensor(place, sample[np.newaxis])
        model.invoke()
        return model.get_tensor(output)

    return ask


def _local_apis(folder: Path, name: str, model: Path) -> list[Metric]:
    """Compare socket and HTTP with the call in the process, and JSON with a peer."""
    folder.mkdir()
    engine = Engine.open(model)
    sample = samples(engine.inputs[0].shape, 1)[0]
    with ExitStack() as stack:
        served = stack.enter_context(serving(folder, name, model))
        peer = stack.enter_context(
            running_mlserver(CACHE, folder / "peer", {name: model})
        )
        client = stack.enter_context(Client(served.socket))
        bare = stack.enter_context(bare_process(folder, model))
        unix, tcp, other = (
            stack.enter_context(RawHttp(address))
            for address in (
                str(served.http_socket),
                ("127.0.0.1", served.port),
                ("127.0.0.1", peer.port),
            )
        )
        slug = name.replace("_", "-")
        binary, text = binary_request(slug, sample), json_request(slug, sample)
        theirs = json_request(name, sample)
        quick: dict[str, Ask] = {
            "predict": lambda: engine.predict(sample),
            "bare_process": lambda: bare(sample),
            "socket": lambda: client.infer("s", sample),
            "oip_binary": lambda: unix.ask(binary),
        }
        slow: dict[str, Ask] = {
            "oip_json": lambda: tcp.ask(text),
            "mlserver": lambda: other.ask(theirs),
        }
        found = medians(
            lambda: {**_blocks(quick, BLOCK), **_blocks(slow, JSON_BLOCK)}, ROUNDS
        )
        memory = served.rss_bytes / peer.rss_bytes
    engine.close()
    return _api_metrics(name, found, memory)


def _api_metrics(name: str, found: Rounds, memory: float) -> list[Metric]:
    inside = found["predict"]
    return [
        Metric(
            name=f"{name}_bare_process_extra",
            value=found["bare_process"] - inside,
            unit="us",
        ),
        Metric(
            name=f"{name}_socket_extra",
            value=found["socket"] - inside,
            unit="us",
            at_most=40.0,
        ),
        Metric(
            name=f"{name}_oip_binary_extra",
            value=found["oip_binary"] - inside,
            unit="us",
            at_most=100.0,
        ),
        Metric(name=f"{name}_oip_json", value=found["oip_json"], unit="us"),
        Metric(
            name=f"{name}_oip_json_ratio",
            value=found["oip_json"] / found["mlserver"],
            unit="x MLServer",
            at_most=0.5,
        ),
        Metric(
            name=f"{name}_worker_rss_ratio",
            value=memory,
            unit="x MLServer",
            at_most=0.5,
        ),
    ]


def _memory(folder: Path, model: Path) -> list[Metric]:
    """Compare a worker that has answered with a process of LiteRT and NumPy alone."""
    folder.mkdir()
    bare = subprocess.run(
        [sys.executable, "-c", BARE, model], capture_output=True, text=True, check=True
    )
    with serving(folder, "ds_cnn", model) as served:
        _warm_up(served)
        found = served.rss_bytes
    return [
        Metric(name="worker_rss", value=found / MIB, unit="MiB"),
        Metric(
            name="worker_rss_ratio",
            value=found / (int(bare.stdout) * 1024),
            unit="x LiteRT + NumPy",
            at_most=1.25,
        ),
    ]


def _cold_start(folder: Path, model: Path) -> list[Metric]:
    """Time a worker from its start to its first prediction."""
    times = []
    for place in range(COLD_STARTS):
        home = folder / str(place)
        home.mkdir(parents=True)
        with serving(home, "ds_cnn", model) as served:
            times.append(_first_answer_s(served))
    return [
        Metric(name="cold_start", value=float(np.median(times)), unit="s", at_most=1.0)
    ]


def _first_answer_s(served: Served) -> float:
    _warm_up(served, 1)
    return time.monotonic() - served.started


def _shadow(folder: Path, model: Path) -> list[Metric]:
    """Compare the time of requests with and without one in ten in the shadow."""
    plain, shadowed = folder / "plain", folder / "shadowed"
    for one in (plain, shadowed):
        one.mkdir(parents=True)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(served.socket))
            for served in (
                stack.enter_context(serving(plain, "ds_cnn", model)),
                stack.enter_context(
                    serving(shadowed, "ds_cnn", model, shadow_ratio=0.1)
                ),
            )
        ]
        without, beside = clients
        sample = samples((49, 10, 1), 1)[0]
        ways: dict[str, Ask] = {
            "plain": lambda: without.infer("s", sample),
            "shadow": lambda: beside.infer("s", sample),
        }
        found = medians(lambda: _blocks(ways, SHADOW_BLOCK, mean=True), ROUNDS)
    return [
        Metric(
            name="shadow_ratio",
            value=found["shadow"] / found["plain"],
            unit="x without, mean",
            at_most=1.10,
        )
    ]


def _warm_up(served: Served, count: int = SETTLE) -> None:
    sample = samples((49, 10, 1), 1)[0]
    with Client(served.socket) as client:
        for _ in range(count):
            client.infer("s", sample)


def _blocks(ways: dict[str, Ask], count: int, *, mean: bool = False) -> Rounds:
    """Ask in every way in turn; return each one's median (or mean) in microseconds."""
    found = {}
    for name, ask in ways.items():
        times = []
        for _ in range(count):
            start = time.perf_counter()
            ask()
            times.append(time.perf_counter() - start)
        found[name] = float(np.mean(times) if mean else np.median(times)) * 1e6
    return found
