"""The hub's clock: which readings are believed, and what is held back otherwise."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hub.alerts.service import list_incidents
from hub.clock_trust import HubClock, is_trusted
from hub.clock_witnesses import signed_at, witnesses_of
from hub.config import Home
from hub.errors import ConflictError
from hub.home import create_home
from hub.monitor.clock import ClockWatch
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import open_services
from hub.storage import devices
from hub.storage.db import transaction
from hub.storage.retention import Retention
from hub.storage.tables import FEEDBACK
from tests.hub_keys import DAY_S, PASSPHRASE, HandClock

NOW = HandClock().at
IN_2040 = 2_208_988_800.0
IN_2020 = 1_577_836_800.0


@dataclass
class HandMachine:
    """A machine whose clocks a test sets; ``pass_`` lets time go by on both."""

    at: float = NOW
    up: float = 100.0
    start: str = "first"
    served: bool = False

    def wall(self) -> float:
        """Return the system's time."""
        return self.at

    def steady(self) -> float:
        """Return seconds since the start."""
        return self.up

    def boot(self) -> str:
        """Name the start."""
        return self.start

    def is_synchronised(self) -> bool:
        """Tell whether a time service keeps the clock."""
        return self.served

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.at += seconds
        self.up += seconds

    def reboot(self, away_s: float) -> None:
        """Start again after a while."""
        self.at += away_s
        self.up, self.start = 10.0, self.start + "+"


WRONG = {
    "2040": IN_2040 - NOW,
    "2020": IN_2020 - NOW,
    "20 days ahead": 20 * DAY_S,
    "20 days back": -20 * DAY_S,
}


@pytest.mark.parametrize("jump", WRONG)
@pytest.mark.parametrize("when", ["running", "restarted", "rebooted"])
def test_a_jump_of_the_clock_is_not_believed(
    tmp_path: Path, jump: str, when: str
) -> None:
    """The hub's time goes on from what is known, until the clock is right again."""
    machine = HandMachine()
    clock = HubClock(tmp_path, machine=machine)
    clock.tick()
    machine.pass_(60)
    assert clock.wall() == machine.at
    clock.keep()

    machine.at += WRONG[jump]
    if when == "rebooted":
        machine.reboot(0.0)
    if when != "running":
        clock = HubClock(tmp_path, machine=machine)
    machine.pass_(4)

    assert not clock.tick().is_trusted
    assert abs(clock.wall() - (NOW + 64)) < 1
    machine.at -= WRONG[jump]
    assert clock.tick().is_trusted


def test_a_hub_that_was_off_is_believed_where_something_vouches(tmp_path: Path) -> None:
    """40 days: by the steady clock, by a time service; two days: by themselves."""
    machine = HandMachine()
    HubClock(tmp_path, machine=machine).keep()

    machine.pass_(40 * DAY_S)
    assert is_trusted(HubClock(tmp_path, machine=machine))
    HubClock(tmp_path, machine=machine).keep()
    machine.reboot(2 * DAY_S)
    assert is_trusted(HubClock(tmp_path, machine=machine))
    machine.reboot(40 * DAY_S)
    held = HubClock(tmp_path, machine=machine)
    assert not is_trusted(held)

    machine.served = True

    assert is_trusted(held)
    assert is_trusted(HubClock(tmp_path, machine=machine))


def test_a_clock_that_a_time_service_sets_after_the_start_is_believed(
    tmp_path: Path,
) -> None:
    """A machine without a battery wakes in the past; a step under a service is none."""
    machine = HandMachine()
    clock = HubClock(tmp_path, machine=machine)
    clock.tick()
    machine.reboot(0.0)
    clock = HubClock(tmp_path, machine=machine)

    machine.at, machine.served = machine.at + 5 * DAY_S, True
    machine.pass_(60)
    assert clock.tick().is_trusted
    machine.pass_(60)
    assert clock.tick().is_trusted

    machine.at += 5 * DAY_S
    assert not clock.tick().is_trusted


@pytest.mark.parametrize("jump", ["2040", "20 days back"])
def test_a_person_says_that_the_clock_is_right(tmp_path: Path, jump: str) -> None:
    """A hub that runs takes it up; so does the next one, whatever was stored."""
    machine = HandMachine()
    running = HubClock(tmp_path, lambda: [NOW], machine)
    running.tick()
    machine.at += WRONG[jump]
    assert not running.tick().is_trusted

    HubClock(tmp_path, lambda: [NOW], machine).accept()
    machine.pass_(2)

    assert running.tick().is_trusted
    machine.reboot(60.0)
    assert is_trusted(HubClock(tmp_path, lambda: [NOW], machine))
    machine.at = IN_2020
    with pytest.raises(ConflictError):
        HubClock(tmp_path, machine=machine).accept()


def test_a_jump_prunes_signs_and_expires_nothing_and_is_told(tmp_path: Path) -> None:
    """In 2040 for an hour: labels, tokens and metadata are as they were."""
    home = Home(tmp_path / "home")
    start = HandClock()
    create_home(home, start, NewKeys(folder=tmp_path / "usb", passphrase=PASSPHRASE))
    machine = HandMachine()
    clock = HubClock(home.path, machine=machine)
    services = open_services(home, clock)
    retention = Retention(services.engine, clock, 1.0)
    with transaction(services.engine) as conn:
        devices.touch(conn, "d1", NOW)
        conn.execute(
            FEEDBACK.insert().values(
                device="d1",
                sample_id="s",
                release=1,
                predicted="a",
                label="a",
                correct=True,
                predicted_at=NOW,
                received_at=NOW,
            )
        )
    token = services.identity.issue_token("d1", 3600.0)
    clock.tick()

    machine.at = IN_2040
    machine.pass_(10)
    clock.tick()
    services.releases.refresh()

    assert retention.tick() == 0
    assert services.tuf.version() == 1
    assert token.expires_at > clock.wall()
    with pytest.raises(ConflictError) as refused:
        Ceremony(home, clock).refresh([])
    assert refused.value.code == "HUB-CLOCK-001"
    (seen,) = ClockWatch(clock, services.tuf).observe(set(), clock.wall())
    assert "hub clock accept" in seen.summary
    with services.engine.connect() as conn:
        assert conn.scalar(select(func.count()).select_from(FEEDBACK)) == 1
    services.engine.dispose()


def test_metadata_signed_in_the_future_names_the_rotation_that_heals(
    tmp_path: Path,
) -> None:
    """The alert has the command; after it the signed time is of today."""
    home, usb, start = Home(tmp_path / "home"), tmp_path / "usb", HandClock()
    create_home(home, start, NewKeys(folder=usb, passphrase=PASSPHRASE))
    services = open_services(home, start)
    start.at = IN_2040
    services.tuf.refresh(start.now(), force=["snapshot"])
    start.at = NOW + 60
    watch = ClockWatch(start, services.tuf)
    (seen,) = watch.observe(set(), start.at)
    assert "hub keys rotate online --offline-keys DIR" in seen.summary
    assert max(witnesses_of(services.engine, services.tuf)()) == IN_2040

    ceremony = Ceremony(home, start, offline=[usb], passphrases=lambda _: [PASSPHRASE])
    ceremony.rotate("online", NewKeys())

    assert watch.observe(set(), start.at) == []
    assert signed_at(services.tuf) == NOW + 60
    assert list_incidents(services.engine) == []
    services.engine.dispose()
