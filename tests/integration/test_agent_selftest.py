"""The self-test as a process: its limits, its budgets, and what they are told as."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update.sandbox import FILE_BYTES, OPEN_FILES, SPARE_BYTES
from edge_agent.update.selftest import (
    CPU_S,
    Verdict,
    _read_verdict,
    spawn_self_test,
)
from edge_agent.wire.manifest import Budget
from tests.fakes.releases import MODEL, make_release
from tests.fakes.tuf_repository import TufRepository

MIB = 1 << 20
LIMITED = """
import os, resource, sys, threading
import numpy as np
from edge_agent.runtime.litert import runtime_name
from edge_agent.update.sandbox import limit_models, limit_process
runtime_name()
limit_process(60)
limit_models(int(sys.argv[1]))
if os.geteuid() == 0:
    os.setuid(65534)  # Root may start as much as it likes.
def tries(what):
    try:
        what()
    except MemoryError:
        return "MemoryError"
    except (OSError, RuntimeError) as error:
        return type(error).__name__
    return "done"
half, more = int(sys.argv[1]) // 2, int(sys.argv[1]) + int(sys.argv[2])
print(tries(lambda: np.ones(half, np.uint8)))
print(tries(lambda: np.ones(more, np.uint8)))
print(tries(threading.Thread(target=print).start))
print(tries(os.fork))
print(tries(lambda: [open(os.devnull) for _ in range(int(sys.argv[3]))]))
"""


def run(folder: Path, budget: Budget, source: Path = MODEL) -> Verdict:
    """Self-test a release with a budget."""
    made = make_release(TufRepository(), 1, budget=budget, source=source)
    store = ArtifactStore(folder)
    for sha256, data in made.artifacts.items():
        store.path(sha256).write_bytes(data)
        if b'"bundle":' in data:
            store.write_release(1, data)
    verdict = spawn_self_test(folder, 1, interrupted=lambda: False)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny-int8.tflite"])
def test_good_model_passes_within_its_limits(tmp_path: Path, name: str) -> None:
    """A model that needs what its budget says runs, and its cost is measured."""
    budget = Budget(latency_us=1e6, rss_bytes=96 * MIB)
    verdict = run(tmp_path, budget, MODEL.with_name(name))

    assert (verdict.ok, verdict.code) == (True, "")
    assert 0 < verdict.latency_us < 1e6
    assert 20 * MIB < verdict.rss_bytes < 96 * MIB


def test_memory_of_who_starts_it_does_not_count(tmp_path: Path) -> None:
    """A large parent does not make a small model exceed its budget."""
    ballast = bytearray(128 * MIB)
    ballast[::4096] = b"x" * (len(ballast) // 4096)

    verdict = run(tmp_path, Budget(latency_us=1e6, rss_bytes=96 * MIB))

    assert verdict.ok, verdict.detail
    assert len(ballast) > verdict.rss_bytes


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        (Budget(latency_us=0.01), "AGENT-UPDATE-042"),
        (Budget(rss_bytes=1 * MIB), "AGENT-UPDATE-045"),
    ],
)
def test_release_over_its_budget_is_refused(
    tmp_path: Path, budget: Budget, code: str
) -> None:
    """Time and memory are the release's own limits, each with its code."""
    verdict = run(tmp_path, budget)

    assert (verdict.ok, verdict.code) == (False, code)
    assert "budget" in verdict.detail


@pytest.mark.parametrize("budget", [64 * MIB, 512 * MIB])
def test_limits_hold_inside_the_process(budget: int) -> None:
    """A model can map its budget and not much more, start nothing, open little."""
    command = [sys.executable, "-c", LIMITED, str(budget), str(SPARE_BYTES + MIB)]
    done = subprocess.run(
        [*command, str(OPEN_FILES)],
        capture_output=True,
        text=True,
        check=False,
        env=_quiet(),
    )

    assert done.stdout.split() == [
        "done",
        "MemoryError",
        "RuntimeError",
        "BlockingIOError",
        "OSError",
    ], done.stderr


def test_time_and_files_are_limited_from_the_start() -> None:
    """Before the model is even read: processor time, file sizes, open files, cores."""
    code = (
        "import resource as r\n"
        "from edge_agent.update import sandbox; sandbox.limit_process(60)\n"
        "for n in ('CPU', 'FSIZE', 'NOFILE', 'CORE'):"
        " print(*r.getrlimit(getattr(r, 'RLIMIT_' + n)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    limits = (CPU_S, FILE_BYTES, OPEN_FILES, 0)
    assert done.stdout.splitlines() == [f"{most} {most}" for most in limits]


def test_release_that_is_not_there_is_a_verdict(tmp_path: Path) -> None:
    """What cannot be loaded is told with the code of why."""
    verdict = spawn_self_test(tmp_path, 7, interrupted=lambda: False)

    assert verdict is not None
    assert (verdict.ok, verdict.code) == (False, "AGENT-UPDATE-044")
    assert "AGENT-STORE-006" in verdict.detail


@pytest.mark.parametrize(
    ("status", "out", "said"),
    [
        (-signal.SIGSEGV, b"", "died of SIGSEGV: boom"),
        (3, b"", "exited with 3: boom"),
        (1, b'{"ok":true}', "exited with 1: boom"),
        (0, b"nonsense", "exited with 0: boom"),
    ],
)
def test_process_that_says_nothing_is_a_verdict(
    status: int, out: bytes, said: str
) -> None:
    """However it ended: a process that does not say that all is well, failed."""
    verdict = _read_verdict(status, out, b"first\nboom\n")

    assert (verdict.ok, verdict.code) == (False, "AGENT-UPDATE-040")
    assert said in verdict.detail


def _quiet() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
