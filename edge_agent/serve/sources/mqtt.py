"""Rows from a topic of a local broker.

Each topic under the filter is a stream of its own, with windows of its own. A window
never spans a lost connection, a dropped or bad message, or a change of the release.
Messages wait in a queue that drops the oldest.
"""

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config_flows import MqttSource, kind_of, name_of
from edge_agent.serve.local_mqtt import LocalMqtt
from edge_agent.serve.sources.newest import Newest
from edge_agent.serve.sources.payload import read_payload
from edge_agent.serve.sources.port import Intake, SourcePorts
from edge_agent.serve.windowing import Override, Windower, as_sample, fit_windowing
from edge_agent.wire.manifest import InputContract

PAYLOAD_BAD = "source.mqtt.bad_payload"
TAKE_S = 0.5
MAX_STREAMS = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    topic: str
    payload: bytes
    session: int


class Mqtt:
    """The MQTT source."""

    def __init__(self, config: MqttSource, folder: Path, ports: SourcePorts) -> None:
        """Prepare; nothing is connected before :meth:`run`."""
        self.name, self.kind = name_of(config), kind_of(config)
        self._config = config
        self._override = Override(length=config.length, hop=config.hop)
        self._ports = ports
        self._intake = Intake(name=self.name, ports=ports)
        self.counters = self._intake.counters
        self._queue: Newest[_Message] = Newest(config.queue)
        self._link = LocalMqtt(
            config.broker, folder, topic=config.topic, on_message=self._put
        )
        self._streams: OrderedDict[str, Windower] = OrderedDict()
        self._contract: InputContract | None = None
        self._last = 0
        self._session = 0
        self._bad = ""

    @property
    def problem(self) -> str:
        """Why nothing comes, or what is wrong with what comes."""
        return self._link.problem or self._bad

    def run(self, stop: threading.Event) -> None:
        """Infer what comes until told to stop."""
        self._ports.spawn(f"mqtt-{self.name}", lambda: self._link.run(stop))
        while not stop.is_set():
            taken = self._queue.take(TAKE_S)
            self._intake.drop(self._queue.dropped())
            if taken is None:
                continue
            number, message = taken
            if number != self._last + 1 or message.session != self._session:
                self._break()
            self._last, self._session = number, message.session
            self._infer(message)

    def _put(self, topic: str, payload: bytes) -> None:
        session = self._link.sessions
        self._queue.put(_Message(topic=topic, payload=payload, session=session))

    def _infer(self, message: _Message) -> None:
        contract = self._ports.contract()
        if contract is None:
            self._intake.drop()
            return
        if contract != self._contract:
            self._streams.clear()
            self._contract = contract
        try:
            rows = read_payload(
                message.payload,
                self._config.payload,
                contract,
                is_stream=bool(self._override.hop),
            )
        except ValueError as error:
            self._refuse(message.topic, str(error))
            return
        self._bad = ""
        windower = self._stream(message.topic, contract, rows.shape[1:])
        for offset, window in windower.push(rows):
            sample_id = f"{message.topic}@{offset}#{self._session}"
            values = as_sample(window, contract)
            self._intake.offer(sample_id, values, stream=message.topic)

    def _stream(
        self, topic: str, contract: InputContract, row: tuple[int, ...]
    ) -> Windower:
        cut = fit_windowing(contract, row, self._override)
        known = self._streams.get(topic)
        if known is None or known.windowing != cut:
            known = self._streams[topic] = Windower(cut)
        self._streams.move_to_end(topic)
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)
        return known

    def _refuse(self, topic: str, why: str) -> None:
        if not self._bad:
            log.warning(PAYLOAD_BAD, extra={"topic": topic, "why": why})
        self._bad = f"{topic}: {why}"
        self.counters.rejected += 1
        if topic in self._streams:
            self._streams[topic].reset()

    def _break(self) -> None:
        """Something is missing, of whatever topic: all windows begin anew."""
        for windower in self._streams.values():
            windower.reset()
