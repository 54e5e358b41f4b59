"""What ``edge-agent doctor`` says of sources and sinks: files, folders, libraries.

Brokers and addresses are not called: the agent that runs does that, and `edge-agent
status` shows what came of it.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from edge_agent.config_flows import (
    AnySink,
    AnySource,
    CameraSource,
    CommandSink,
    CsvSource,
    FolderSource,
    MqttSink,
    MqttSource,
    ReplaySource,
    WebhookSink,
    name_of,
)
from edge_agent.finding import Finding


def examine_source(config: AnySource, folder: Path) -> Finding:
    """Return what can be known of a source before it runs."""
    check = f"source {name_of(config)}"
    match config:
        case FolderSource():
            return _folder(check, folder / config.path)
        case CsvSource() | ReplaySource():
            return _file(check, folder / config.path)
        case MqttSource():
            return _secret(check, folder, config.broker.password_file, config.topic)
        case CameraSource():
            is_there = find_spec("cv2") is not None
            return Finding(
                check=check,
                ok=is_there,
                seen="OpenCV is installed" if is_there else "OpenCV is not installed",
                cure="pip install 'shoal[camera]'",
            )


def examine_sink(config: AnySink, folder: Path) -> Finding:
    """Return what can be known of a sink before it runs."""
    check = f"sink {name_of(config)}"
    match config:
        case MqttSink():
            return _secret(check, folder, config.broker.password_file, config.topic)
        case WebhookSink():
            return _secret(check, folder, config.token_file, config.url)
        case CommandSink():
            found = shutil.which(config.argv[0])
            return Finding(
                check=check,
                ok=found is not None,
                seen=found or f"there is no program {config.argv[0]}",
                cure="give its whole path in argv",
            )


def _folder(check: str, path: Path) -> Finding:
    ok = path.is_dir() and os.access(path, os.R_OK | os.W_OK | os.X_OK)
    return Finding(
        check=check,
        ok=ok,
        seen=f"{path} is {'writable' if ok else 'no folder that may be written'}",
        cure="make it, and let the agent's user write there: done files are moved",
    )


def _file(check: str, path: Path) -> Finding:
    ok = path.is_file() and os.access(path, os.R_OK)
    seen = f"{path}, {path.stat().st_size} bytes" if ok else f"{path} cannot be read"
    return Finding(check=check, ok=ok, seen=seen, cure="put the file there")


def _secret(check: str, folder: Path, file: str, where: str) -> Finding:
    if not file:
        return Finding(check=check, ok=True, seen=where)
    ok = os.access(folder / file, os.R_OK)
    seen = f"{where}, {file} {'is readable' if ok else 'cannot be read'}"
    return Finding(check=check, ok=ok, seen=seen, cure=f"write the secret to {file}")
