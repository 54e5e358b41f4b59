"""From the configuration to sources: one place that knows every kind.

A kind's module is imported where it is configured: a device that has no local broker
does not pay for an MQTT client in its worker.
"""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.config_flows import (
    AnySource,
    CameraSource,
    CsvSource,
    FolderSource,
    MqttSource,
    ReplaySource,
)
from edge_agent.serve.sources.port import Source, SourcePorts

STATE_FOLDER = "sources"


def open_sources(
    configs: Sequence[AnySource], folder: Path, state_dir: Path, ports: SourcePorts
) -> list[Source]:
    """Make the sources that are configured; nothing is opened before they run.

    Args:
        configs: One for each source.
        folder: What relative paths are relative to.
        state_dir: The agent's state folder.
        ports: What sources need of the worker.
    """
    return [_open(config, folder, state_dir, ports) for config in configs]


def _open(
    config: AnySource, folder: Path, state_dir: Path, ports: SourcePorts
) -> Source:
    match config:
        case ReplaySource():
            from edge_agent.serve.sources.replay import Replay

            return Replay(config, folder, ports)
        case CsvSource():
            from edge_agent.serve.sources.csv_replay import CsvReplay

            return CsvReplay(config, folder, ports)
        case FolderSource():
            from edge_agent.serve.sources.folder import Folder

            return Folder(config, folder / config.path, state_dir / STATE_FOLDER, ports)
        case MqttSource():
            from edge_agent.serve.sources.mqtt import Mqtt

            return Mqtt(config, folder, ports)
        case CameraSource():
            from edge_agent.serve.sources.camera import Camera
            from edge_agent.serve.sources.opencv import open_camera

            return Camera(config, folder, ports, open_camera)
