"""A hub's home with two releases, and folders of it that are carried to devices."""

from pathlib import Path

from edge_agent.base.clock import Clock, SystemClock
from hub.carry import Carried, write_folder
from hub.config import Home
from hub.home import create_home
from hub.service import open_services
from tests.hub_bundle import make_bundle

DEVICE = "d1"
CONFIG = """
[broker]
port = 1
[rollout]
probation_min_predictions = 10
probation_min_s = 0.2
"""


def make_hub(folder: Path, clock: Clock | None = None, releases: int = 2) -> Home:
    """Return a home with releases 1 to ``releases``, all of them published."""
    clock = clock or SystemClock()
    home = Home(folder / "home")
    create_home(home, clock)
    home.config_file.write_text(CONFIG, "utf-8")
    services = open_services(home, clock)
    for seed in range(1, releases + 1):
        bundle = make_bundle(folder / f"bundle-{seed}", seed=seed)
        services.releases.publish(services.releases.take_in(bundle))
    services.engine.dispose()
    return home


def carry(
    home: Home,
    to: Path,
    release: int | None = None,
    *devices: str,
    clock: Clock | None = None,
) -> Carried:
    """Write a folder."""
    services = open_services(home, clock)
    try:
        return write_folder(services, to, release=release, devices=devices)
    finally:
        services.engine.dispose()
