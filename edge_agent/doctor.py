"""``edge-agent doctor``: what the agent needs from this machine, one finding a check.

No finding changes anything, except that the state folder is made where it is missing.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_agent.base.clock import EARLIEST_WALL
from edge_agent.base.tls import client_context
from edge_agent.config import AgentConfig, place_tls
from edge_agent.doctor_flows import examine_sink, examine_source
from edge_agent.errors import EnrolError, LinkError, StoreError
from edge_agent.evidence_text import examine_evidence
from edge_agent.finding import Finding
from edge_agent.heartbeat import SOCKET_FILE
from edge_agent.link.mqtt import refuse_plaintext
from edge_agent.openssl import read_certificate
from edge_agent.status import last_version
from edge_agent.store.db import DB_FILE

MIN_FREE_BYTES = 64 << 20
CONNECT_S = 3.0
IMPORT_S = 60.0


def examine(config: AgentConfig, config_path: Path) -> list[Finding]:
    """Return every finding."""
    folder = config_path.resolve().parent
    state_dir = folder / config.device.state_dir
    checks: list[Callable[[], Finding]] = [
        lambda: _state_folder(state_dir),
        *_fleet_checks(config, folder, state_dir),
        _runtime,
        *([lambda: _certificate(config, folder)] if config.broker.tls.enabled else []),
        *(partial(examine_source, one, folder) for one in config.all_sources),
        *(partial(examine_sink, one, folder) for one in config.sinks),
        lambda: _disk(state_dir),
        _clock,
    ]
    return [check() for check in checks]


def _fleet_checks(
    config: AgentConfig, folder: Path, state_dir: Path
) -> list[Callable[[], Finding]]:
    """Return what only a device of a fleet needs; one that works alone does not."""
    if not config.trust.root:
        seen = "none: this device works alone until `edge-agent join FILE`"
        return [lambda: Finding(check="fleet", ok=True, seen=seen)]
    return [
        lambda: _root_file(folder / config.trust.root),
        lambda: _broker(config, state_dir / DB_FILE),
        lambda: examine_evidence(config.evidence.keep, state_dir / SOCKET_FILE),
    ]


def _state_folder(state_dir: Path) -> Finding:
    probe = state_dir / ".doctor"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Finding(
            check="state folder",
            ok=False,
            seen=str(error),
            cure="set device.state_dir to a folder that the agent may write",
        )
    return Finding(check="state folder", ok=True, seen=f"{state_dir} is writable")


def _root_file(path: Path) -> Finding:
    try:
        size = len(path.read_bytes())
    except OSError as error:
        return Finding(
            check="root of trust",
            ok=False,
            seen=str(error),
            cure="copy the hub's root.json here and set trust.root to it",
        )
    return Finding(check="root of trust", ok=size > 0, seen=f"{path}, {size} bytes")


def _runtime() -> Finding:
    # In a process of its own: the command line needs no interpreter.
    code = "from edge_agent.runtime.litert import runtime_name; print(runtime_name())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            timeout=IMPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(check="runtime", ok=False, seen="its import does not end")
    lines = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
    return Finding(
        check="runtime",
        ok=done.returncode == 0,
        seen=lines[-1] if lines else f"exit status {done.returncode}",
        cure="install the interpreter: pip install 'shoal[agent]'",
    )


def _broker(config: AgentConfig, database: Path) -> Finding:
    address = (config.broker.host, config.broker.port)
    name = f"{address[0]}:{address[1]}"
    try:
        refuse_plaintext(config.broker)
        socket.create_connection(address, CONNECT_S).close()
    except LinkError as error:
        return Finding(check="broker", ok=False, seen=error.text, cure=error.cure)
    except OSError as error:
        return Finding(
            check="broker",
            ok=False,
            seen=f"{name}: {error}",
            cure="start the broker, or correct broker.host and broker.port",
        )
    # Asking the broker itself would end the session of the agent that runs.
    try:
        spoken = last_version(database)
    except StoreError:
        spoken = ""
    how = f", the agent speaks MQTT {spoken} with it" if spoken else ""
    return Finding(check="broker", ok=True, seen=f"{name} answers{how}")


def _certificate(config: AgentConfig, folder: Path) -> Finding:
    tls, name = place_tls(config, folder).tls, "certificate"
    try:
        found = read_certificate(Path(tls.cert))
        client_context(tls.ca, tls.cert, tls.key)
    except EnrolError as error:
        return Finding(check=name, ok=False, seen=error.text, cure=error.cure)
    except OSError as error:
        return Finding(
            check=name,
            ok=False,
            seen=f"{tls.cert} cannot be used with its key and {tls.ca}: {error}",
            cure="enrol anew: hub devices enroll-token, edge-agent enroll",
        )
    days = (found.ends_at - time.time()) / 86_400
    seen = f"of {found.name}, {days:.0f} days left"
    if found.name != config.device.id:
        cure = f"set device.id = {found.name!r}, or enrol as {config.device.id}"
        return Finding(check=name, ok=False, seen=seen, cure=cure)
    if time.time() < found.begins_at:
        cure = "set the clock: the certificate is not valid yet"
        return Finding(check=name, ok=False, seen=seen, cure=cure)
    cure = "enrol anew with a token: an expired certificate cannot renew itself"
    return Finding(check=name, ok=days > 0, seen=seen, cure=cure)


def _disk(state_dir: Path) -> Finding:
    place = state_dir if state_dir.exists() else state_dir.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(check="disk", ok=False, seen=str(error))
    return Finding(
        check="disk",
        ok=free >= MIN_FREE_BYTES,
        seen=f"{free >> 20} MiB free",
        cure=f"free at least {MIN_FREE_BYTES >> 20} MiB for artifacts and the outbox",
    )


def _clock() -> Finding:
    now = time.time()
    return Finding(
        check="clock",
        ok=now >= EARLIEST_WALL,
        seen=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)),
        cure="set the clock (NTP): expired metadata cannot be told from fresh",
    )
