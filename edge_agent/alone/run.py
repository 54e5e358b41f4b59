"""Composition root of ``edge-agent run --model``: a worker and its watchers, no more.

The model becomes a factory model: wrapped into a bundle by a process of its own,
self-tested by another, served by the same worker that serves a fleet's releases, as
release 0. So nothing of a fleet's rules is softer here; there is just no fleet. The
folder has a configuration that `edge-agent join` turns into a fleet's.

Threads: ``main`` (waiting), ``worker`` (watching the child), ``watchdog``.
"""

import contextlib
import logging
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_agent.alone.tell import Serving, request_lines
from edge_agent.alone.wrap import spawn_wrap
from edge_agent.base.clock import SystemClock
from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.toml import dump
from edge_agent.child import ChildHooks, Death, WorkerChild, worker_command
from edge_agent.class_names import read_class_names, refuse_names_of_bundle
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, ModelError, WorkerError
from edge_agent.heartbeat import SOCKET_FILE, WorkerPort
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import StatusReply
from edge_agent.store.disk import disk_error, write_durably
from edge_agent.store.factory import factory_model, read_factory
from edge_agent.store.lock import take_lock
from edge_agent.update.factory import try_factory
from edge_agent.watchdog import Watchdog
from edge_agent.wire.manifest import BUNDLE_FILE

ALONE_STARTED = "alone.started"
WORKER_DIED = "alone.worker.died"
CONFIG_FILE, BUNDLE_FOLDER, STATE_FOLDER = "agent.toml", "factory", "state"
DEVICE = "alone"
START_S = 60.0
POLL_S = 0.1

log = logging.getLogger(__name__)


class BelongsError(AgentError):
    """The folder is a fleet device's, or the port another program's."""

    exit_code = ExitCode.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be served, and where.

    ``port`` 0: no HTTP port. ``folder`` ``None``: one that is removed at the end.
    """

    model: Path
    labels: Path | None = None
    port: int = 8080
    folder: Path | None = None


def run_alone(wish: Wish, say: Callable[[str], None]) -> int:
    """Serve a model until SIGTERM or SIGINT; return the exit code.

    Args:
        wish: What to serve.
        say: Told, once it is served, how to send a request, line by line.

    Raises:
        AgentError: The model cannot be served, the folder not written, the port not
            taken.
    """
    with _folder_of(wish) as folder:
        config_path = prepare(wish, folder)
        return _Alone(config_path).run(say)


def prepare(wish: Wish, folder: Path) -> Path:
    """Write bundle and configuration into a folder; return the configuration's path.

    What a person added to the configuration of an earlier run stays.

    Raises:
        BelongsError: The folder is a fleet device's (``AGENT-ALONE-004``), or the port
            is taken (``AGENT-ALONE-005``).
        AgentError: The model cannot be wrapped, or the disk not written.
    """
    path = folder / CONFIG_FILE
    table = _read_table(path)
    if table.get("trust", {}).get("root"):
        raise BelongsError(
            "AGENT-ALONE-004",
            f"{path} is the configuration of a fleet's device",
            cure=f"edge-agent run --config {path}, or another --state-dir",
        )
    refuse_names_of_bundle(wish.model, wish.labels)
    if wish.model.is_dir() and not (wish.model / BUNDLE_FILE).is_file():
        raise ModelError(
            "AGENT-ALONE-008",
            f"{wish.model} is no bundle folder: there is no {BUNDLE_FILE} in it",
            cure="name a .tflite file, or a folder that the trainer wrote",
        )
    read_class_names(wish.labels)
    _refuse_taken(wish.port)
    if wish.model.is_dir():
        bundle = str(wish.model.resolve())
    else:
        spawn_wrap(wish.model.resolve(), folder / BUNDLE_FOLDER, wish.labels)
        bundle = BUNDLE_FOLDER
    http = f"127.0.0.1:{wish.port}" if wish.port else ""
    wanted = {
        **table,
        "device": {"id": DEVICE, "state_dir": STATE_FOLDER, **table.get("device", {})},
        "trust": {"root": ""},
        "factory": {"bundle": bundle},
        "api": {**table.get("api", {}), "http": http},
    }
    try:
        msgspec.convert(wanted, AgentConfig)
    except msgspec.ValidationError as error:
        raise BelongsError("AGENT-ALONE-004", f"{path}: {error}") from error
    write_durably(path, dump(wanted).encode())
    return path


class _Alone:
    """One worker, started again whenever it ends."""

    def __init__(self, config_path: Path) -> None:
        self._path = config_path
        table = tomllib.loads(config_path.read_text("utf-8"))
        self._config = msgspec.convert(table, AgentConfig)
        folder = config_path.resolve().parent
        self._state_dir = folder / self._config.device.state_dir
        self._factory = factory_model(self._config, folder)
        self._clock = SystemClock()
        self._stop = threading.Event()
        hooks = ChildHooks(on_death=self._on_death, on_crash_loop=lambda _: None)
        command = worker_command(config_path.resolve(), secrets.token_hex(8))
        self._child = WorkerChild(command, self._clock, hooks)

    def run(self, say: Callable[[str], None]) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        with contextlib.closing(take_lock(self._state_dir)):
            self._pass_self_test()
            port = WorkerPort(self._state_dir / SOCKET_FILE)
            watchdog = Watchdog(
                self._child,
                port.check,
                self._clock,
                period_s=self._config.worker.watchdog_s,
            )
            threads = [
                threading.Thread(target=self._child.run, name="worker"),
                threading.Thread(
                    target=lambda: watchdog.run(self._stop), name="watchdog"
                ),
            ]
            for thread in threads:
                thread.start()
            try:
                self._announce(say)
                self._stop.wait()
            finally:
                self._stop.set()
                self._child.stop()
                for thread in threads:
                    thread.join()
        return ExitCode.OK

    def _pass_self_test(self) -> None:
        if self._factory is None:
            return
        why = try_factory(self._factory, self._stop.is_set)
        if why:
            raise ModelError("AGENT-ALONE-006", f"the model is not served: {why}")

    def _announce(self, say: Callable[[str], None]) -> None:
        """Wait until the model is served, then say how to ask it.

        Raises:
            AgentError: It is not (``AGENT-ALONE-007``).
        """
        status = self._await_model()
        if status is None or self._factory is None:
            return
        serving = Serving(
            bundle=read_factory(self._factory.folder).release.bundle,
            folder=self._path.resolve().parent,
            socket=self._state_dir / SOCKET_FILE,
            http=self._config.api.http,
        )
        log.info(ALONE_STARTED, extra={"sha256": status.sha256})
        for line in request_lines(serving):
            say(line)

    def _await_model(self) -> StatusReply | None:
        deadline = self._clock.mono() + START_S
        problem = "it does not answer"
        with Client(self._state_dir / SOCKET_FILE) as client:
            while self._clock.mono() < deadline:
                if self._stop.wait(POLL_S):
                    return None
                with contextlib.suppress(WorkerError):
                    status = client.status()
                    if status.sha256:
                        return status
                    problem = status.problem or problem
                    if status.problem:
                        break
        raise ModelError("AGENT-ALONE-007", f"the worker serves nothing: {problem}")

    def _on_death(self, death: Death) -> None:
        log.warning(WORKER_DIED, extra={"status": death.status, "hung": death.hung})


@contextlib.contextmanager
def _folder_of(wish: Wish) -> Iterator[Path]:
    if wish.folder is not None:
        try:
            wish.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error) from error
        yield wish.folder
        return
    folder = Path(tempfile.mkdtemp(prefix="shoal-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_table(path: Path) -> dict[str, dict[str, object]]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BelongsError("AGENT-ALONE-004", f"{path}: {error}") from error


def _refuse_taken(port: int) -> None:
    if not port:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BelongsError(
                "AGENT-ALONE-005",
                f"port {port} cannot be used: {error}",
                cure="choose another with --port, or --port 0 for none",
            ) from error
