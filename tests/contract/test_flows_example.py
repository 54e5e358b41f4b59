"""The example configuration explains every kind of source and sink, key by key."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from edge_agent.config import AgentConfig
from edge_agent.config_flows import AnySink, AnySource, LocalBroker, Rule

EXAMPLE = Path(__file__).parents[2] / "configs" / "agent.example.toml"
BASE = '[device]\nid = "d1"\n[trust]\nroot = "root.json"\n'
KINDS = [*get_args(AnySource), *get_args(AnySink)]
EVERYWHERE = {"name", "length", "hop", "queue", "rule"}
"""Keys that are explained once and mean the same in every kind."""


def _blocks() -> list[str]:
    """Return the commented blocks of sources and sinks, uncommented."""
    paragraphs = EXAMPLE.read_text("utf-8").split("\n\n")
    blocks = []
    for paragraph in paragraphs:
        _, mark, block = paragraph.partition("# [[")
        if mark:
            lines = (mark + block).splitlines()
            blocks.append("\n".join(line.removeprefix("# ") for line in lines))
    return blocks


def _read(block: str) -> dict[str, Any]:
    config = msgspec.convert(tomllib.loads(BASE + block), AgentConfig)
    made = [*config.sources, *config.sinks]
    assert len(made) == 1
    (table,) = tomllib.loads(block).get("sources") or tomllib.loads(block)["sinks"]
    assert isinstance(table, dict)
    return table


def test_every_block_of_the_example_is_valid() -> None:
    """Whoever removes the marks has a configuration that works."""
    kinds = [_read(block)["kind"] for block in _blocks()]
    assert len(kinds) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_key_of_a_kind_is_explained(kind: type[msgspec.Struct]) -> None:
    """No key without its line."""
    name = str(kind.__struct_config__.tag)
    tables = [
        table
        for block in _blocks()
        if (table := _read(block))["kind"] == name
        and (("sinks" in block) == kind.__name__.endswith("Sink"))
    ]
    assert len(tables) == 1
    assert set(kind.__struct_fields__) - set(tables[0]) <= EVERYWHERE
    for key, parts in (("broker", LocalBroker), ("rule", Rule)):
        if key in tables[0]:
            assert set(tables[0][key]) == set(parts.__struct_fields__)


def test_keys_that_all_kinds_share_are_explained_somewhere() -> None:
    """Once is enough."""
    text = "\n".join(_blocks())
    assert all(f"{key} = " in text for key in EVERYWHERE)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[[sources]]\nkind = "csv"\npath = "a"\n' * 2, "give them a name"),
        ('[[sinks]]\nkind = "command"\nargv = ["a"]\n', "rule"),
        (
            '[[sources]]\nkind = "mqtt"\ntopic = "a"\nbroker = { host = "10.0.0.1" }\n',
            "not this machine",
        ),
        (
            '[[sinks]]\nkind = "webhook"\nurl = "http://10.0.0.1/"\nrule = {}\n',
            "use https",
        ),
        ('[[sinks]]\nkind = "webhook"\nurl = "ftp://a/"\nrule = {}\n', "no http"),
        ('[[sinks]]\nkind = "mqtt"\ntopic = "a/#"\n', "topic"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, what: str) -> None:
    """Two of one name, no rule, plaintext over a network, a filter to publish to."""
    with pytest.raises(msgspec.ValidationError, match=what):
        msgspec.convert(tomllib.loads(BASE + text), AgentConfig)
