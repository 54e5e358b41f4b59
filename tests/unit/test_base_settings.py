"""Settings: unknown keys are named with a cure, and the environment overrides."""

from pathlib import Path

import pytest

from edge_agent.base.settings import SettingsError, read_settings
from edge_agent.config import AgentConfig

GOOD = '[device]\nid = "d1"\n[trust]\nroot = "root.json"\n'


def read(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> AgentConfig:
    """Read a configuration of the agent from text."""
    path = tmp_path / "agent.toml"
    path.write_text(text, "utf-8")
    return read_settings(path, AgentConfig, prefix="SHOAL_AGENT", env=env or {})


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_right_name(
    tmp_path: Path,
) -> None:
    """The text holds the key, the section, the file and what was meant."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, GOOD + "[broker]\nprot = 1\n")

    text = str(caught.value)
    assert "SHOAL-CONFIG-003" in text
    assert "agent.toml" in text
    assert "[broker] 'prot'" in text
    assert "did you mean 'port'?" in text


def test_an_unknown_section_is_named_too(tmp_path: Path) -> None:
    """The top level has keys like any other."""
    with pytest.raises(SettingsError, match="did you mean 'broker'"):
        read(tmp_path, GOOD + "[brokr]\nport = 1\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD + "[broker]\nport = 70000\n", "SHOAL-CONFIG-004"),
        (GOOD + '[broker]\nport = "x"\n', "SHOAL-CONFIG-004"),
        ("[trust]\nroot = 1\n", "SHOAL-CONFIG-004"),
        ("not toml", "SHOAL-CONFIG-002"),
    ],
)
def test_a_bad_value_is_refused_with_a_code(
    tmp_path: Path, text: str, code: str
) -> None:
    """Out of range, of the wrong type, missing, or no TOML at all."""
    with pytest.raises(SettingsError, match=code):
        read(tmp_path, text)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """Not a traceback, but the file's name and the option."""
    with pytest.raises(SettingsError, match="--config"):
        read_settings(tmp_path / "none.toml", AgentConfig, prefix="X", env={})


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """Sections and keys are joined by two underscores; numbers are numbers."""
    env = {"SHOAL_AGENT_BROKER__PORT": "1884", "SHOAL_AGENT_BROKER__HOST": "broker"}

    config = read(tmp_path, GOOD + "[broker]\nport = 1\n", env)

    assert (config.broker.host, config.broker.port) == ("broker", 1884)
