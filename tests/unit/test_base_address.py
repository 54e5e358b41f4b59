"""A host setting that holds more than a host is told as that, with the cure."""

from pathlib import Path

import pytest

from edge_agent.base.address import require_host
from edge_agent.base.settings import SettingsError, read_settings
from edge_agent.config import AgentConfig
from hub.config import HubConfig

WRITTEN = {
    "pump:1883": 'host = "pump" and port = 1883',
    "mqtt://pump:1883": 'host = "pump" and port = 1883',
    "mqtts://user:secret@pump/x": 'host = "pump"',
    "[::1]:1883": 'host = "::1" and port = 1883',
    "pump ": "has spaces",
    "pu mp": "has spaces",
    "": "is empty",
    "pump/1": "is no host",
    "pump\x1b[2J": "is no host",
}


@pytest.mark.parametrize(("written", "told"), WRITTEN.items())
def test_more_than_a_host_is_told_with_its_cure(written: str, told: str) -> None:
    """Ports, schemes, brackets and spaces, and what to write instead."""
    with pytest.raises(ValueError, match="host") as refused:
        require_host(written, "broker")
    assert told in str(refused.value)


@pytest.mark.parametrize("host", ["pump", "10.0.0.1", "::1", "fe80::1%eth0", "ä.de"])
def test_a_host_is_taken(host: str) -> None:
    """Names, and addresses of both families."""
    require_host(host, "broker")


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (HubConfig, '[broker]\nhost = "b:1883"\n', "broker.host"),
        (HubConfig, '[api]\nhost = "http://b"\n', "api.host"),
        (AgentConfig, '[broker]\nhost = "b:1883"\n', "broker.host"),
    ],
)
def test_every_configuration_says_so(
    tmp_path: Path, kind: type[HubConfig | AgentConfig], text: str, told: str
) -> None:
    """Hub and device refuse it as they read it, as wrong usage."""
    file = tmp_path / "x.toml"
    file.write_text('[device]\nid = "d"\n[trust]\nroot = ""\n' * (kind is AgentConfig))
    file.write_text(file.read_text() + text)
    with pytest.raises(SettingsError, match="SHOAL-CONFIG-004") as refused:
        read_settings(file, kind, prefix="NONE")
    assert told in str(refused.value)
