"""``edge-agent bench``: measure a model on this device, for people and for the hub."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_agent.base.terminal import raw_stream
from edge_agent.cli_output import CONFIG_OPTION, JSON_OPTION, print_document
from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from edge_agent.wire.bench import BenchReport

BAR = 40
ROWS = 12


@click.command()
@CONFIG_OPTION
@click.option(
    "--model",
    type=click.Path(exists=True, path_type=Path),
    help="A .tflite file or bundle folder; else the device's active release.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    help="How long predictions run.",
)
@click.option("--hardware", default="", help="Name of this kind of device.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the JSON to a file, for hub bench add.",
)
@JSON_OPTION
def bench(  # noqa: PLR0913 - click gives each option as an argument
    *,
    config_path: Path,
    model: Path | None,
    seconds: float,
    hardware: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure latency, throughput, memory, cold start and energy of a model here.

    The agent may run meanwhile; it then takes part of the processor.
    """
    from edge_agent.bench import measure
    from edge_agent.store.disk import write_durably
    from edge_agent.wire.codec import encode_pretty

    path, known = (model, "") if model is not None else _active(config_path)
    report = measure(path, seconds, hardware or known, _progress)
    if output is not None:
        write_durably(output, encode_pretty(report))
    print_document(report, lines_of(report), as_json=as_json)


def lines_of(report: "BenchReport") -> list[str]:
    """Return the report as people read it, with a histogram."""
    fields = [
        ("model", f"{report.model} ({report.bytes} bytes)"),
        ("hardware", report.hardware),
        ("runtime", report.runtime),
        ("predictions", f"{report.predictions} ({report.per_s:,.0f} a second)"),
        ("latency", f"median {report.p50_us:.1f} us"),
        ("", f"95 % {report.p95_us:.1f}, 99 % {report.p99_us:.1f} us"),
        ("", f"longest {report.max_us:.0f} us"),
        ("cold start", f"{report.cold_start_s:.2f} s"),
        ("memory", f"{report.rss_bytes / (1 << 20):.1f} MiB"),
        ("energy", _energy_text(report.energy_mj)),
    ]
    return [f"{name:12} {value}" for name, value in fields] + _histogram(report)


def _energy_text(energy_mj: float) -> str:
    if not energy_mj:
        return "not told by this machine's kernel"
    return f"{energy_mj:.3f} mJ a prediction, of the whole processor"


def _histogram(report: "BenchReport") -> list[str]:
    """Return bars of a quarter of a doubling each, from the fastest on."""
    from edge_agent.sketch.latency import BINS_PER_DOUBLING, middle_us

    step = BINS_PER_DOUBLING // 4
    rows: dict[int, int] = {}
    for place, count in report.latency.items():
        rows[int(place) // step] = rows.get(int(place) // step, 0) + count
    shown = sorted(rows)[:ROWS]
    largest = max(rows.values())
    lines = [
        f"{middle_us(row * step):10.1f} us {'█' * round(BAR * rows[row] / largest)}"
        f" {rows[row]}"
        for row in shown
    ]
    slower = report.predictions - sum(rows[row] for row in shown)
    return lines + ([f"    slower: {slower}"] if slower else [])


def _active(config_path: Path) -> tuple[Path, str]:
    """Return the file of the device's active release, and its hardware's name.

    Raises:
        ModelError: Nothing is active (``AGENT-MODEL-015``).
    """
    from edge_agent.cli_output import read_config
    from edge_agent.store.artifacts import ArtifactStore
    from edge_agent.store.db import DB_FILE
    from edge_agent.store.slots import SlotStore

    config = read_config(config_path)
    state = config_path.resolve().parent / config.device.state_dir
    active = 0
    if (state / DB_FILE).exists():
        slots = SlotStore(state / DB_FILE)
        active = slots.read().active
        slots.close()
    if not active:
        raise ModelError(
            "AGENT-MODEL-015",
            "no release is active on this device",
            cure="name a file: edge-agent bench --model model.tflite",
        )
    store = ArtifactStore(state)
    file = store.read_release(active).bundle.model
    store.read(file)
    return store.path(file.sha256), config.device.hardware


def _progress(share: float) -> None:
    if sys.stderr.isatty():
        done, screen = round(BAR * share), raw_stream(sys.stderr)
        screen.write(f"\r[{'#' * done}{' ' * (BAR - done)}]")
        if share > 1 - 1 / BAR:
            screen.write("\r\033[K")
        screen.flush()
