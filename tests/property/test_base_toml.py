"""TOML that is written reads back as the same tables."""

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.base.toml import dump

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0))
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_what_is_written_reads_back(table: dict[str, object]) -> None:
    """Whatever keys and texts: quotes, line feeds, emoji, empty keys."""
    assert tomllib.loads(dump(table)) == table


def test_a_configuration_looks_like_one() -> None:
    """Values, then sections, then lists of tables, as a person would write them."""
    table = {
        "fallback": "unknown",
        "device": {"id": "d1", "labels": {"site": "lab"}},
        "sources": [{"kind": "csv", "broker": {"port": 1}}, {"kind": "folder"}],
        "consent": {"expires_at": datetime(2030, 1, 1, tzinfo=UTC)},
    }
    assert dump(table) == (
        'fallback = "unknown"\n\n[device]\nid = "d1"\n\n[device.labels]\n'
        'site = "lab"\n\n[[sources]]\nkind = "csv"\nbroker = { port = 1 }\n\n'
        '[[sources]]\nkind = "folder"\n\n[consent]\n'
        "expires_at = 2030-01-01T00:00:00+00:00\n"
    )


def test_what_toml_cannot_say_is_an_error() -> None:
    """Nothing is left out silently."""
    with pytest.raises(TypeError, match="NoneType"):
        dump({"a": None})
