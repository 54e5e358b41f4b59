"""What a device says of itself when it comes online."""

import platform
from importlib.metadata import PackageNotFoundError, version

from edge_agent.config import AgentConfig
from edge_agent.wire.control import Presence

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
CAPABILITIES = ["resume", "selftest", "probation", "profile", "feedback"]


def describe_device(config: AgentConfig, boot: str, at: float) -> Presence:
    """Return the presence of this device; no interpreter is imported for it."""
    runtimes = [f"{n} {v}" for n in _RUNTIMES if (v := _version(n))]
    collects = ["samples"] if config.consent is not None else []
    return Presence(
        device=config.device.id,
        boot=boot,
        online=True,
        at=at,
        agent=_version("shoal") or "source",
        runtime=runtimes[0] if runtimes else "",
        hardware=config.device.hardware or platform.machine(),
        labels=config.device.labels,
        capabilities=CAPABILITIES + collects,
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
