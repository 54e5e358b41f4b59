"""From the configuration to sinks: one place that knows every kind.

A kind's module is imported where it is configured.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.config_flows import (
    AnySink,
    CommandSink,
    MqttSink,
    WebhookSink,
    kind_of,
    name_of,
)
from edge_agent.serve.sinks.port import Delivery, Sink
from edge_agent.serve.sinks.rule import RuleBook

Body = Callable[[threading.Event], None]
"""What a further thread of a sink runs, until the event is set."""


def open_sinks(
    configs: Sequence[AnySink], folder: Path
) -> tuple[list[Sink], dict[str, Body]]:
    """Make the sinks that are configured, and their further threads by name.

    Args:
        configs: One for each sink.
        folder: What relative paths are relative to.
    """
    bodies: dict[str, Body] = {}
    sinks = []
    for config in configs:
        delivery = _open(config, folder, bodies)
        rule = RuleBook(config.rule) if config.rule is not None else None
        sinks.append(
            Sink(name_of(config), kind_of(config), delivery, rule, config.queue)
        )
    return sinks, bodies


def _open(config: AnySink, folder: Path, bodies: dict[str, Body]) -> Delivery:
    match config:
        case MqttSink():
            from edge_agent.serve.local_mqtt import LocalMqtt
            from edge_agent.serve.sinks.mqtt import MqttDelivery

            link = LocalMqtt(config.broker, folder)
            bodies[f"mqtt-{name_of(config)}"] = link.run
            return MqttDelivery(link, config.topic)
        case WebhookSink():
            from edge_agent.serve.sinks.webhook import WebhookDelivery

            return WebhookDelivery(config, folder)
        case CommandSink():
            from edge_agent.serve.sinks.command import CommandDelivery

            return CommandDelivery(config)
