"""A CSV file played as the sensor, row by row at a rate.

The file is read as it is played, so it may be larger than memory. Windows never span
the file's end, or a change of the release. A file that cannot be read is named once
and tried again.
"""

import logging
import threading
from pathlib import Path

from edge_agent.config_flows import CsvSource, kind_of, name_of
from edge_agent.serve.files.csv_file import read_csv
from edge_agent.serve.joined import number_type
from edge_agent.serve.sources.pace import Pace
from edge_agent.serve.sources.port import Intake, SourcePorts
from edge_agent.serve.windowing import (
    Override,
    Rows,
    Windower,
    as_sample,
    fit_windowing,
)
from edge_agent.wire.manifest import InputContract

CSV_UNREADABLE = "source.csv.unreadable"
CHECK_S = 1.0
DEFAULT_RATE = 10.0

log = logging.getLogger(__name__)


class CsvReplay:
    """The CSV source."""

    def __init__(self, config: CsvSource, folder: Path, ports: SourcePorts) -> None:
        """Play the file of ``config``, whose path is relative to ``folder``."""
        self.name, self.kind = name_of(config), kind_of(config)
        self.problem = ""
        self._config = config
        self._path = folder / config.path
        self._override = Override(length=config.length, hop=config.hop)
        self._ports = ports
        self._intake = Intake(name=self.name, ports=ports)
        self.counters = self._intake.counters
        self._pace = Pace(ports.clock)

    def run(self, stop: threading.Event) -> None:
        """Play the file until told to stop, or to its end."""
        cycle = 0
        while not stop.is_set():
            contract = self._ports.contract()
            if contract is None:
                stop.wait(CHECK_S)
                continue
            try:
                ended = self._play(stop, contract, cycle)
            except (OSError, ValueError) as error:
                self._complain(str(error))
                stop.wait(CHECK_S)
                continue
            cycle += 1
            if ended and not self._config.repeat:
                self.problem = "the file is played to its end"
                return

    def _play(self, stop: threading.Event, contract: InputContract, cycle: int) -> bool:
        """Play the file once; false where something came in between.

        Raises:
            ValueError: It is not CSV.
            OSError: It cannot be read.
        """
        period_s = 1.0 / (self._config.rate or contract.rate_hz or DEFAULT_RATE)
        windower: Windower | None = None
        rows = read_csv(self._path, contract.axes, dtype=number_type(contract))
        for piece in rows:
            self.problem = ""
            if windower is None:
                cut = fit_windowing(contract, piece.shape[1:], self._override)
                windower = Windower(cut)
            for row in range(len(piece)):
                if stop.wait(self._pace.wait_s(period_s)):
                    return False
                if self._ports.contract() != contract:
                    return False
                self._infer(windower, piece[row : row + 1], contract, cycle)
        if windower is None:
            raise ValueError(f"{self._path} has no rows")
        return True

    def _infer(
        self, windower: Windower, row: Rows, contract: InputContract, cycle: int
    ) -> None:
        for offset, window in windower.push(row):
            sample_id = f"{self.name}@{offset}#{cycle}"
            self._intake.offer(sample_id, as_sample(window, contract))

    def _complain(self, why: str) -> None:
        if not self.problem:
            log.warning(CSV_UNREADABLE, extra={"path": str(self._path), "why": why})
        self.problem = why
