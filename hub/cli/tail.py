"""``hub tail``: what devices send, live from the broker and decoded."""

import queue
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

import click
import msgspec

from edge_agent.base.terminal import one_line
from edge_agent.wire import topics
from edge_agent.wire.batch import Batch, decode_batch
from edge_agent.wire.errors import WireError
from edge_agent.wire.records import (
    AnyRecord,
    EventRecord,
    FeedbackRecord,
    HealthRecord,
    ProfileRecord,
    SampleRecord,
    UpdateRecord,
)
from edge_agent.wire.topics import Lane
from hub.cli.output import json_option
from hub.config import BrokerConfig, Home

_CONNECT_S = 5.0
_QUEUED = 10_000


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One record as ``--json`` prints it, one object a line; inputs are left out."""

    device: str
    boot: str
    lane: str
    seq: int
    record: msgspec.Raw


Message = tuple[str, bytes]


@click.command()
@click.option("--device", default="", help="Only this device.")
@click.option(
    "--lane", type=click.Choice([str(lane) for lane in Lane]), help="Only this lane."
)
@click.option("--count", type=int, default=0, help="End after so many records.")
@click.option(
    "--timeout", "timeout_s", type=float, default=0.0, help="End after so many seconds."
)
@json_option
@click.pass_obj
def tail(  # noqa: PLR0913 - one argument an option
    home: Home,
    device: str,
    lane: str | None,
    count: int,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    """Print records as devices send them, until Ctrl-C.

    Exits with 6 if --timeout passed before --count records came.
    """
    messages: queue.Queue[Message] = queue.Queue(_QUEUED)
    from hub.home import read_home
    from hub.identity.broker import hub_broker
    from hub.identity.ca import WATCH_USER

    settings = hub_broker(home, read_home(home).broker, WATCH_USER)
    stop = _listen(settings, messages)
    deadline = time.monotonic() + timeout_s if timeout_s else float("inf")
    printed = 0
    try:
        while time.monotonic() < deadline and (not count or printed < count):
            for line in _take(messages, device, lane or ""):
                click.echo(one_line(line.as_json() if as_json else line.as_text()))
                printed += 1
                if count and printed >= count:
                    break
    except KeyboardInterrupt:
        return
    finally:
        stop()
    if count and printed < count:
        from hub.errors import WaitTimeoutError

        raise WaitTimeoutError(
            "HUB-TAIL-001", f"{printed} of {count} records came in {timeout_s:.0f} s"
        )


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    batch: Batch
    seq: int
    record: AnyRecord

    def as_json(self) -> str:
        record = self.record
        if isinstance(record, SampleRecord):
            record = msgspec.structs.replace(record, data=b"")
        line = Line(
            device=self.device,
            boot=self.batch.header.boot,
            lane=str(self.batch.header.lane),
            seq=self.seq,
            record=msgspec.Raw(msgspec.json.encode(record)),
        )
        return msgspec.json.encode(line).decode()

    def as_text(self) -> str:
        at = datetime.fromtimestamp(self.record.at, UTC)
        lane = self.batch.header.lane
        return f"{at:%H:%M:%S} {self.device} {lane}/{self.seq} {_summary(self.record)}"


def _take(messages: "queue.Queue[Message]", device: str, lane: str) -> list[_Row]:
    """Return the wanted records of the next batch; none if none came for a while."""
    try:
        topic, payload = messages.get(timeout=0.2)
    except queue.Empty:
        return []
    address = topics.parse(topic)
    if address is None or (device and address.device != device):
        return []
    if lane and address.kind != lane:
        return []
    try:
        batch = decode_batch(payload)
    except WireError as error:
        click.echo(one_line(f"{topic}: {error}"), err=True)
        return []
    return [
        _Row(device=address.device, batch=batch, seq=seq, record=record)
        for seq, record in batch.rows
    ]


def _listen(
    broker: BrokerConfig, messages: "queue.Queue[Message]"
) -> Callable[[], None]:
    """Connect beside the hub, under a name of its own; return what ends it."""
    from hub.errors import UnreachableError
    from hub.link import HubLink

    def on_batch(topic: str, payload: bytes, done: Callable[[], None]) -> None:
        # Looking on must not slow anybody down: what does not fit is left out.
        if not messages.full():
            messages.put_nowait((topic, payload))
        done()

    name = f"{broker.client_id}-tail-{secrets.token_hex(4)}"
    link = HubLink(
        msgspec.structs.replace(broker, client_id=name),
        on_batch=on_batch,
        on_control=lambda *_: None,
        on_up=lambda: None,
        persistent=False,
    )
    link.start()
    if not link.wait_up(_CONNECT_S):
        link.stop()
        raise UnreachableError(
            "HUB-LINK-003",
            f"there is no broker at {broker.host}:{broker.port}",
            cure="start it, or set [broker] in hub.toml",
            retryable=True,
        )
    return link.stop


def _summary(record: AnyRecord) -> str:
    match record:
        case ProfileRecord():
            return f"profile release={record.release} rows={record.profile.rows}"
        case HealthRecord():
            return (
                f"health release={record.release} predictions={record.predictions} "
                f"p95={record.latency_p95_us:.0f}us pending={record.outbox_pending}"
            )
        case FeedbackRecord():
            verdict = "right" if record.correct else "wrong"
            return (
                f"feedback release={record.release} {record.sample_id} "
                f"{record.predicted!r} {verdict}"
            )
        case UpdateRecord():
            outcome = f" {record.outcome} {record.code} {record.detail}".rstrip()
            return f"update release={record.release} {record.phase}{outcome}"
        case EventRecord():
            return f"event {record.severity} {record.code}: {record.text}"
        case SampleRecord():
            return (
                f"sample release={record.release} {record.sample_id} {record.label!r}"
            )
