"""What a device says of itself when it comes online."""

import platform

from edge_agent.base.installed import agent_version, installed_runtime
from edge_agent.config import AgentConfig
from edge_agent.wire.control import Presence

CAPABILITIES = [
    "resume",
    "selftest",
    "shadow",
    "probation",
    "profile",
    "feedback",
    "paired-test",
]


def describe_device(config: AgentConfig, boot: str, at: float) -> Presence:
    """Return the presence of this device; no interpreter is imported for it."""
    collects = ["samples"] if config.consent is not None else []
    return Presence(
        device=config.device.id,
        boot=boot,
        online=True,
        at=at,
        agent=agent_version(),
        runtime=installed_runtime(),
        hardware=config.device.hardware or platform.machine(),
        labels=config.device.labels,
        capabilities=CAPABILITIES + collects,
    )
