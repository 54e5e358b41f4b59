"""The folder source: every complete file is inferred once, then put away.

What happens when it dies: in the middle of a file, the next start goes on behind the
last answered sample (:mod:`edge_agent.serve.sources.progress`); between the last
sample and the move, the file is known to be whole and is only moved. A new release
that takes other windows goes on in the middle, at the row that was next. A file at
which the worker died ``MAX_ATTEMPTS`` times in the same place is set aside.
"""

import logging
import threading
from pathlib import Path

from msgspec.structs import replace

from edge_agent.config_flows import FolderSource, kind_of, name_of
from edge_agent.errors import AgentError
from edge_agent.serve.files.reading import FileSample, read_samples
from edge_agent.serve.sources.port import Intake, Outcome, SourcePorts, Taken
from edge_agent.serve.sources.progress import Progress, ProgressFile, key_of
from edge_agent.serve.sources.watching import Found, Watch, put_away
from edge_agent.serve.windowing import Override
from edge_agent.wire.manifest import InputContract

FOLDER_UNREADABLE = "source.folder.unreadable"
FILE_DONE = "source.file.done"
FILE_FAILED = "source.file.failed"
POLL_S = 0.5
PAUSE_S = 2.0
MAX_ATTEMPTS = 3

log = logging.getLogger(__name__)


class Folder:
    """The folder source."""

    def __init__(
        self, config: FolderSource, folder: Path, state: Path, ports: SourcePorts
    ) -> None:
        """Watch ``folder``; progress is kept in ``state``."""
        self.name, self.kind = name_of(config), kind_of(config)
        self.problem = ""
        self._config = config
        self._folder = folder
        self._override = Override(length=config.length, hop=config.hop)
        self._record = state / f"{self.name}.progress"
        self._ports = ports
        self._intake = Intake(name=self.name, ports=ports)
        self.counters = self._intake.counters

    def run(self, stop: threading.Event) -> None:
        """Infer file after file until told to stop.

        Raises:
            StoreError: Progress cannot be kept at all.
        """
        progress = ProgressFile(self._record, self._ports.clock)
        watch = Watch(self._folder, self._config.settle_s, self._ports.clock)
        try:
            while not stop.is_set():
                found = self._look(watch)
                if found is None or self._ports.contract() is None:
                    stop.wait(POLL_S)
                    continue
                try:
                    self._take(found, progress, stop)
                except (OSError, AgentError) as error:
                    # Not the file's fault: a disk, or a library that is missing.
                    self._complain(str(error))
                    progress.forgive()
                    stop.wait(PAUSE_S)
        finally:
            progress.close()

    def _look(self, watch: Watch) -> Found | None:
        try:
            found = watch.next()
        except OSError as error:
            self._complain(str(error))
            return None
        self.problem = ""
        return found

    def _take(self, found: Found, record: ProgressFile, stop: threading.Event) -> None:
        """Infer what is left of a file and put it away; or stop in the middle.

        Raises:
            OSError: The file cannot be read or moved now.
            AgentError: Progress cannot be kept now, or a library is missing.
        """
        now = record.begin(key_of(found.path.name, found.stat))
        if now.attempts > MAX_ATTEMPTS and not now.whole:
            times = now.attempts - 1
            self._set_aside(found.path, f"the worker died at it {times} times")
            return
        while not now.whole:
            contract = self._ports.contract()
            if contract is None or stop.is_set():
                record.note(replace(now, attempts=0), sync=True)
                return
            try:
                now = self._read(found.path, contract, now, record, stop)
            except ValueError as error:
                self._set_aside(found.path, str(error))
                return
        record.note(now, sync=True)
        if now.answered:
            self._finish(found.path, now)
        else:
            self._set_aside(found.path, now.why or "there is no sample in it")

    def _read(
        self,
        path: Path,
        contract: InputContract,
        now: Progress,
        record: ProgressFile,
        stop: threading.Event,
    ) -> Progress:
        """Infer from where ``now`` is; not whole where something came in between."""
        for sample in read_samples(path, contract, self._override):
            if sample.at < now.at:
                continue
            if self._ports.contract() != contract or stop.is_set():
                return now
            taken = self._intake.insist(stop, _id_of(path, sample), sample.values)
            if taken.outcome is Outcome.BUSY:
                return now
            now = _after(now, sample, taken)
            record.note(now)
        return replace(now, whole=True)

    def _finish(self, path: Path, now: Progress) -> None:
        put_away(path, self._config.after)
        self.counters.files_done += 1
        log.info(
            FILE_DONE,
            extra={
                "file": path.name,
                "answered": now.answered,
                "rejected": now.rejected,
                "failed": now.failed,
            },
        )

    def _set_aside(self, path: Path, why: str) -> None:
        put_away(path, self._config.after, why=why)
        self.counters.files_failed += 1
        log.warning(FILE_FAILED, extra={"file": path.name, "why": why})

    def _complain(self, why: str) -> None:
        if self.problem != why:
            log.warning(
                FOLDER_UNREADABLE, extra={"path": str(self._folder), "why": why}
            )
        self.problem = why


def _id_of(path: Path, sample: FileSample) -> str:
    recording = f"/{sample.name}" if sample.name else ""
    return f"{path.name}{recording}@{sample.at[1]}"


def _after(now: Progress, sample: FileSample, taken: Taken) -> Progress:
    recording, row = sample.at
    return replace(
        now,
        at=(recording, row + 1),
        answered=now.answered + (taken.outcome is Outcome.ANSWERED),
        rejected=now.rejected + (taken.outcome is Outcome.REJECTED),
        failed=now.failed + (taken.outcome is Outcome.FAILED),
        attempts=1,
        why=now.why or taken.why[:128],
    )
