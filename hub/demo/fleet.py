"""The demo's fleet: four wearers with two devices each, one on each future arm.

Device ``a`` of a wearer stays on the right arm (cohort ``ward-a``); device ``b`` moves
to the left arm halfway (cohort ``ward-b``).
"""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hub.config import Home
from hub.demo.processes import Processes

STAYS, MOVES = "ward-a", "ward-b"
RATE = 50
LABEL_DELAY_S = 10
MAX_DEVICES = 100
"""Seeds of a run's sensors are this far from those of the next seed's run."""
QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

_CONFIG = """\
fallback = ""

[device]
id = "{device}"
state_dir = "state"
hardware = "demo"
labels = {{ cohort = "{cohort}", wearer = "{person}" }}

[broker]
port = {port}

[trust]
root = "{root}"

[outbox]
batch_s = 0.5

[profile]
window_rows = 140

[health]
period_s = 5.0

[consent]
name = "demo-study"
expires_at = {expires}
max_samples = 1000

[source]
kind = "replay"
path = "sensor.npz"
rate = {rate}
order = "{order}"
seed = {seed}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearer:
    """One device on one person."""

    device: str
    person: str
    cohort: str
    folder: Path
    order: str
    seed: int

    @property
    def config(self) -> Path:
        """The agent's configuration file."""
        return self.folder / "agent.toml"

    @property
    def sensor(self) -> Path:
        """The file that the agent replays as its sensor."""
        return self.folder / "sensor.npz"

    def recordings(self, data: Path, arm: str, half: str) -> Path:
        """Return this person's recordings of one arm and half."""
        return data / f"{self.person}-{arm}-{half}.npz"


def cast(
    folder: Path, people: list[str], *, order: str, seed: int
) -> tuple[Wearer, ...]:
    """Give each person two devices; each draws its sensor's order for itself."""
    wearers: list[Wearer] = []
    for place, person in enumerate(people):
        for offset, cohort in enumerate((STAYS, MOVES)):
            device = f"watch-{2 * place + offset + 1:02}"
            wearers.append(
                Wearer(
                    device=device,
                    person=person,
                    cohort=cohort,
                    folder=folder / "devices" / device,
                    order=order,
                    seed=MAX_DEVICES * seed + len(wearers),
                )
            )
    return tuple(wearers)


def write_config(wearer: Wearer, home: Home, port: int) -> None:
    """Write the agent's configuration and its copy of the trust anchor."""
    wearer.folder.mkdir(parents=True, exist_ok=True)
    root = wearer.folder / "root.json"
    root.write_bytes(home.root_file.read_bytes())
    expires = datetime.now(UTC) + timedelta(days=1)
    wearer.config.write_text(
        _CONFIG.format(
            device=wearer.device,
            cohort=wearer.cohort,
            person=wearer.person,
            port=port,
            root="root.json",
            expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            rate=float(RATE),
            order=wearer.order,
            seed=wearer.seed,
        ),
        "utf-8",
    )


def start_agent(wearer: Wearer, processes: Processes) -> None:
    """Start the agent, and the process that brings it its late labels."""
    agent = [sys.executable, "-m", "edge_agent"]
    processes.start(
        wearer.device, [*agent, "run", "--config", str(wearer.config)], env=QUIET
    )


def start_labels(wearer: Wearer, data: Path, processes: Processes) -> None:
    """Start what brings true labels to the agent, late, by its local feedback call."""
    processes.start(
        f"{wearer.device}-labels",
        [
            *(sys.executable, "-m", "edge_agent", "feedback"),
            *("--config", str(wearer.config)),
            *("--labels", str(data / "labels.json")),
            *("--delay", str(LABEL_DELAY_S)),
        ],
        env=QUIET,
    )
