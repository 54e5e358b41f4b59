"""The self-test of a candidate: a fresh, limited process that really invokes it.

``python -m edge_agent.update.selftest STATE_DIR RELEASE`` (for the factory model its
folder and 0) verifies the files, loads the model, runs the golden inputs, compares
within the signed tolerance, takes the
median time against the budget, and prints one JSON line. Most bad models die inside
the interpreter's native code: here that costs a process nobody depends on. It may use
so much processor time, write and open hardly anything, start nothing, and map no more
than the runtime itself and the release's memory budget.

The parent's half (:func:`spawn_self_test`) imports no interpreter.
"""

import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.errors import AgentError
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.store.factory import FACTORY_RELEASE, read_factory

MODULE = "edge_agent.update.selftest"
WRONG = "AGENT-UPDATE-041"
HUNG = "AGENT-UPDATE-043"
UNUSABLE = "AGENT-UPDATE-044"
UNSUPPORTED = "AGENT-UPDATE-046"
MAX_DETAIL = 500
CPU_S = 60
FILE_BYTES = 1 << 20
OPEN_FILES = 64
SPARE_BYTES = 64 << 20
"""Address space beyond the budget: what is mapped is not all resident."""
STATM, STATUS = Path("/proc/self/statm"), Path("/proc/self/status")
TIMED_RUNS = 21
WALL_S = 90.0
POLL_S = 0.2


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
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, str(state_dir), str(release)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + WALL_S
    with process:
        while True:
            try:
                out, err = process.communicate(timeout=POLL_S)
                return _read_verdict(process.returncode, out, err)
            except subprocess.TimeoutExpired:
                late = time.monotonic() > deadline
                if not late and not interrupted():
                    continue
            process.kill()
            process.communicate()
            if not late:
                return None
            return Verdict(ok=False, code=HUNG, detail=f"no end within {WALL_S:g} s")


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
    how = (
        f"died of {signal.Signals(-returncode).name}"
        if returncode < 0
        else f"exited with {returncode}"
    )
    tail = err.decode(errors="replace").strip().splitlines()[-1:]
    return Verdict(
        ok=False,
        code="AGENT-UPDATE-040",
        detail=": ".join([f"the self-test {how}", *tail])[:500],
    )


def _limit() -> None:
    """Bound processor time, file sizes and open files of this process."""
    for limit, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


def _limit_model(budget_bytes: int) -> None:
    """Bound what a model may map and start, once the runtime itself is loaded.

    What the runtime maps beyond its resident pages is not the model's; of the rest
    the release's budget is the limit. With one thread LiteRT starts no other.
    """
    try:
        pages = [int(field) for field in STATM.read_text("ascii").split()[:2]]
    except (OSError, ValueError):
        return  # Not Linux: there is no such limit to derive.
    mapped, resident = (n * resource.getpagesize() for n in pages)
    most = SPARE_BYTES + max(mapped - resident + budget_bytes, mapped)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


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
    _limit_model(bundle.budget.rss_bytes)
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
    _limit()
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
