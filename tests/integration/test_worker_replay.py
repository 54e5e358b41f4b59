"""The replay source on real files."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.base.clock import SystemClock
from edge_agent.config_flows import ReplaySource
from edge_agent.serve.joined import Values
from edge_agent.serve.sources.port import Outcome, SourcePorts, Taken
from edge_agent.serve.sources.replay import Replay, read_recordings
from edge_agent.wire.manifest import InputContract, TensorContract

CONTRACT = InputContract(tensor=TensorContract(name="x", shape=[100, 2]), hop=20)


def _write(path: Path, **arrays: NDArray[np.float32]) -> None:
    part = path.with_name("part.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


class Seen:
    """What the source delivered."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.ids: list[str] = []
        self._came = threading.Condition()

    def take(self, _stream: str, sample_id: str, _sample: Values) -> Taken:
        """Take one sample."""
        with self._came:
            self.ids.append(sample_id)
            self._came.notify_all()
        return Taken(outcome=Outcome.ANSWERED)

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until what was delivered has a property."""
        with self._came:
            assert self._came.wait_for(holds, 10), "it never came"


@contextmanager
def _playing(
    path: Path,
    seen: Seen,
    rate: float = 500.0,
    order: Literal["turns", "sessions"] = "turns",
) -> Iterator[Replay]:
    ports = SourcePorts(
        clock=SystemClock(),
        contract=lambda: CONTRACT,
        ask=seen.take,
        spawn=lambda _name, _body: None,
    )
    config = ReplaySource(path=path.name, rate=rate, order=order)
    replay = Replay(config, path.parent, ports)
    stop = threading.Event()
    thread = threading.Thread(target=replay.run, args=(stop,))
    thread.start()
    try:
        yield replay
    finally:
        stop.set()
        thread.join(5)


def test_in_sessions_a_recording_is_delivered_whole(tmp_path: Path) -> None:
    """All windows of one recording come before any of the next."""
    path = tmp_path / "play.npz"
    _write(path, **{name: np.zeros((300, 2), np.float32) for name in "abc"})
    seen = Seen()
    with _playing(path, seen, order="sessions"):
        seen.wait(lambda: len(seen.ids) >= 33)
    names = [one.partition("@")[0] for one in seen.ids[:33]]
    assert sorted(names) == sorted("abc" * 11)
    assert sum(a != b for a, b in itertools.pairwise(names)) == 2


def test_a_replaced_file_is_played_at_once(tmp_path: Path) -> None:
    """The source goes on with the new file in the middle of a long cycle."""
    path = tmp_path / "play.npz"
    _write(path, right=np.zeros((100_000, 2), np.float32))
    seen = Seen()
    with _playing(path, seen):
        seen.wait(lambda: len(seen.ids) > 5)
        _write(path, left=np.zeros((200, 2), np.float32))
        seen.wait(lambda: any(one.startswith("left@") for one in seen.ids))
    first = next(n for n, one in enumerate(seen.ids) if one.startswith("left@"))
    assert all(one.startswith("left@") for one in seen.ids[first:])
    assert len(set(seen.ids)) == len(seen.ids)


def test_an_unreadable_file_is_named_and_tried_again(tmp_path: Path) -> None:
    """The source waits for a file that is not there or broken, and says so."""
    path = tmp_path / "play.npz"
    path.write_bytes(b"PK\x03\x04 this is no archive")
    seen = Seen()
    with _playing(path, seen) as replay:
        threading.Event().wait(0.1)
        assert replay.problem
        _write(path, a=np.zeros((200, 2), np.float32))
        seen.wait(lambda: len(seen.ids) > 0)
        assert not replay.problem


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    """An npz with Python objects is refused."""
    path = tmp_path / "play.npz"
    np.savez(path, a=np.array([{}, None], object))
    with pytest.raises(ValueError, match="pickle"):
        read_recordings(path)


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """At 20 samples a second, 10 samples take about half a second."""
    path = tmp_path / "play.npz"
    _write(path, a=np.zeros((2000, 2), np.float32))
    seen = Seen()
    clock = SystemClock()
    with _playing(path, seen, rate=20.0):
        seen.wait(lambda: len(seen.ids) >= 1)
        started = clock.mono()
        seen.wait(lambda: len(seen.ids) >= 11)
        assert 0.4 < clock.mono() - started < 3.0
