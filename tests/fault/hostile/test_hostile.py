"""Every attempt of the kit against a real hub, with mosquitto and mutual TLS.

The attempts share a hub for as long as it lives, as hostile devices of one fleet would.
One that an attempt has ruined is replaced before the next.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.hostile.arena import Arena
from tests.fault.hostile.judge import Vitals, find_harm
from tests.fault.hostile.kit import BEGIN, END, TEST, security_table
from tests.fault.hostile.outcome import ATTEMPTS, Outcome
from tests.fault.hostile.scene import Scene

ROOT = Path(__file__).parents[3]
HONEST = 3
_numbers = itertools.count()


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Return a hub that lives until an attempt ends it."""
    with Arena(tmp_path_factory.mktemp("hostile"), HONEST) as made:
        yield made


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_attempt_harms_the_hub_or_the_honest(arena: Arena, name: str) -> None:
    """The hub lives, honest devices are heard in time, and what it takes is bounded."""
    harm = carry_out(arena, name)
    if harm:
        arena.end()
        arena.begin()
    assert harm == []


def carry_out(arena: Arena, name: str) -> list[str]:
    """Make an attempt and return the harm that it did."""
    attempt, scene = ATTEMPTS[name], Scene(arena, next(_numbers))
    before = Vitals.of(arena)
    try:
        observed: Outcome | str = attempt.act(scene)
    except AssertionError as error:
        observed = f"it cannot be carried out: {error}"
    finally:
        scene.close()
    if not isinstance(observed, Outcome):
        ended = "" if arena.alive else f"; the hub ended:\n{arena.last_words()}"
        return [observed + ended]
    return find_harm(scene, attempt, before, observed)


def test_the_hub_starts_again_after_all_of_it(arena: Arena) -> None:
    """What all attempts left behind does not keep it from starting, or from serving."""
    arena.stop_hub()
    arena.start_hub()
    for device in arena.honest:
        device.heartbeat(arena.books)
        device.beat()
        assert device.lost(arena.books) == 0


def test_the_table_of_attempts_is_the_kit() -> None:
    """SECURITY.md names each attempt; `python -m tests.fault.hostile.kit` prints it."""
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    table = text.split(BEGIN, 1)[1].split(END, 1)[0].strip()
    assert table == security_table()
    assert globals()[TEST]
    assert len(ATTEMPTS) >= 40
