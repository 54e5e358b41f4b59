"""The self-test of a candidate: a fresh, limited process that really invokes it.

``python -m edge_agent.update.selftest STATE_DIR RELEASE`` (for the factory model its
folder and 0) verifies the files, loads the model, runs the golden inputs, compares
within the signed tolerance, takes the median time against the budget, and prints one
JSON line. Its process is limited (:mod:`~edge_agent.update.sandbox`).

The parent's half (:func:`spawn_self_test`) imports no interpreter.
"""

import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.errors import AgentError
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.store.factory import FACTORY_RELEASE, read_factory
from edge_agent.update.sandbox import (
    MAX_DETAIL,
    describe_end,
    limit_models,
    limit_process,
    run_limited,
)

MODULE = "edge_agent.update.selftest"
WRONG = "AGENT-UPDATE-041"
HUNG = "AGENT-UPDATE-043"
UNUSABLE = "AGENT-UPDATE-044"
UNSUPPORTED = "AGENT-UPDATE-046"
CPU_S = 60
STATUS = Path("/proc/self/status")
TIMED_RUNS = 21
WALL_S = 90.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the self-test found; ``code`` and ``detail`` where it is not ok."""

    ok: bool
    code: str = ""
    detail: str = ""
    latency_us: float = 0.0
    rss_bytes: int = 0


def spawn_self_test(
    state_dir: Path, release: int, *, interrupted: Callable[[], bool]
) -> Verdict | None:
    """Run the self-test in a process of its own.

    Returns:
        Its verdict; a process that dies or hangs is a verdict too. ``None``: it was
        interrupted and says nothing.
    """
    ended = run_limited(
        [MODULE, str(state_dir), str(release)], WALL_S, interrupted=interrupted
    )
    if ended is None:
        return None
    if ended.late:
        return Verdict(ok=False, code=HUNG, detail=f"no end within {WALL_S:g} s")
    return _read_verdict(ended.returncode, ended.out, ended.err)


def _read_verdict(returncode: int, out: bytes, err: bytes) -> Verdict:
    lines = out.splitlines()
    try:
        verdict = msgspec.json.decode(lines[-1] if lines else b"", type=Verdict)
    except msgspec.MsgspecError:
        verdict = Verdict(ok=False)
    if verdict.ok == (returncode == 0) and (verdict.ok or verdict.code):
        return verdict
    if returncode == -signal.SIGXCPU:
        text = f"no end within {CPU_S} s of processor time"
        return Verdict(ok=False, code=HUNG, detail=text)
    return Verdict(
        ok=False,
        code="AGENT-UPDATE-040",
        detail=f"the self-test {describe_end(returncode, err)}"[:MAX_DETAIL],
    )


def judge(loaded: LoadedRelease) -> Verdict:
    """Load and run a release, and compare it with its golden outputs and budget.

    Raises:
        AgentError: It cannot be loaded or run.
    """
    from edge_agent.runtime.fit import ask, check_fit
    from edge_agent.runtime.litert import load_model, runtime_name
    from edge_agent.sketch.golden import read_golden

    bundle = loaded.release.bundle
    runtime_name()  # Loads it.
    limit_models(bundle.budget.rss_bytes)
    model = load_model(loaded.model)
    check_fit(model, [one.tensor for one in bundle.inputs], bundle.outputs)
    try:
        golden = read_golden(loaded.golden, bundle)
    except ValueError as error:
        return _bad(WRONG, f"golden inputs: {error}")
    for place in range(len(golden)):
        fault = golden.fault(place, ask(model, golden.sample(place)))
        if fault:
            return _bad(WRONG, fault)
    first = golden.sample(0)
    return _within_budget(loaded, _median_us(lambda: ask(model, first)))


def _within_budget(loaded: LoadedRelease, latency_us: float) -> Verdict:
    budget = loaded.release.bundle.budget
    rss = _peak_bytes()
    if latency_us > budget.latency_us:
        return _bad(
            "AGENT-UPDATE-042",
            f"median latency {latency_us:.0f} us, budget {budget.latency_us:.0f} us",
        )
    if rss > budget.rss_bytes:
        return _bad(
            "AGENT-UPDATE-045", f"{rss} bytes of memory, budget {budget.rss_bytes}"
        )
    return Verdict(ok=True, latency_us=latency_us, rss_bytes=rss)


def _peak_bytes() -> int:
    """Return the most memory this process had resident.

    ``ru_maxrss`` outlives ``exec``: it would be at least that of who started us.
    """
    try:
        status = STATUS.read_text("ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _median_us(run: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times)


def _bad(code: str, detail: str) -> Verdict:
    return Verdict(ok=False, code=code, detail=detail)


def main(argv: list[str]) -> int:
    """Judge a release; print the verdict; return the exit code."""
    limit_process(CPU_S)
    try:
        folder, number = Path(argv[0]), int(argv[1])
        if number == FACTORY_RELEASE:
            loaded = read_factory(folder)
        else:
            loaded = ArtifactStore(folder).load_release(number)
        verdict = judge(loaded)
    except AgentError as error:
        from edge_agent.runtime.port import UNSERVED

        code = UNSUPPORTED if error.code == UNSERVED else UNUSABLE
        verdict = _bad(code, f"{error.code}: {error.text}"[:MAX_DETAIL])
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
