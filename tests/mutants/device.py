"""A device that is given mutants: a state folder, a real worker, release 1 behind it.

Every mutant comes twice. *Unsigned*: its bytes lie under the digest of a good file, as
after an attack or a broken disk. *Signed*: a manifest vouches for its own digest, and
the self-test decides; what passes is really activated and asked for predictions.
"""

from pathlib import Path

import numpy as np

from edge_agent.errors import AgentError, UpdateError
from edge_agent.update.selftest import HUNG, Verdict
from edge_agent.update.verify import check_files
from edge_agent.wire.codec import encode
from edge_agent.wire.manifest import Release
from tests.fakes.model_base import LIMIT, Base
from tests.fakes.releases import SHAPE, samples
from tests.fakes.tuf_repository import sha256_of
from tests.fakes.worker_device import Device
from tests.mutants.plan import CRASHED, Finding, Mutant
from tests.mutants.trial import Nursery, judge_afresh

GOOD = 1
DAMAGED_FILE = "AGENT-UPDATE-019"


class MutantDevice(Device):
    """Serves release 1 whatever it is given."""

    def __init__(self, folder: Path, good: Base) -> None:
        """Make the state folder and start the worker."""
        folder.mkdir(parents=True)
        super().__init__(folder)
        self._good = good
        self._put(good, good.release(GOOD, good.data), good.data)
        self._nursery = Nursery()
        self._next = 10
        self._inputs = [
            np.zeros(SHAPE, np.float32),
            np.full(SHAPE, LIMIT, np.float32),
            np.full(SHAPE, -LIMIT, np.float32),
            *samples(5, seed=9),
        ]
        self.start()

    def close(self) -> None:
        """End its processes."""
        self.kill()
        self._nursery.close()

    def take(self, mutant: Mutant) -> Finding:
        """Try a mutant, unsigned and signed; release 1 serves again afterwards."""
        found = Finding(mutant=mutant)
        self._try_unsigned(mutant, found)
        self._try_signed(mutant, found)
        self._serve(GOOD, found)
        self._expect(found, {GOOD: self._good.bundle.model.sha256}, "at the end")
        return found

    def _try_unsigned(self, mutant: Mutant, found: Finding) -> None:
        number, base = self._number(), mutant.base
        release = base.release(number, _as_long(base.data, mutant.data))
        stands_in = release.bundle.model
        place = self._put(base, release, mutant.data, under=stands_in.sha256)
        try:
            check_files(release, self.store)
            found.problems.append("VERIFY took a file with a wrong digest")
        except UpdateError as error:
            found.refused_by_digest = error.code == DAMAGED_FILE and not place.exists()
        self._put(base, release, mutant.data, under=stands_in.sha256)
        self._serve(number, found)
        # Only release 1 may answer: `number` is what the file's name says it is not.
        self._expect(found, {GOOD: self._good.bundle.model.sha256}, "unsigned")
        self._forget(number, stands_in.sha256)

    def _try_signed(self, mutant: Mutant, found: Finding) -> None:
        number, base = self._number(), mutant.base
        release = base.release(number, mutant.data)
        self._put(base, release, mutant.data)
        verdict = self._judge(mutant, number, found)
        found.code, found.detail = verdict.code, verdict.detail
        if verdict.ok:
            self._serve(number, found)
            sha256 = release.bundle.model.sha256
            digests = {number: sha256, GOOD: self._good.bundle.model.sha256}
            self._expect(found, digests, "signed")
            found.activated = self._ask_much(number, found)
        self._forget(number, release.bundle.model.sha256)

    def _judge(self, mutant: Mutant, number: int, found: Finding) -> Verdict:
        """Have the self-test judge; what takes a forked one down is judged afresh."""
        if not mutant.is_structural:
            verdict = self._nursery.judge(self.state, number)
            if verdict.code not in (CRASHED, HUNG):
                return verdict
            found.forked = verdict.code
        return judge_afresh(self.state, number)

    def _ask_much(self, number: int, found: Finding) -> bool:
        """Ask for predictions of all kinds; tell whether the mutant gave any."""
        answered = False
        for sample in self._inputs:
            try:
                made = self.client.infer("s", sample)
                answered |= made.release == number
            except AgentError as error:
                self._note_silence(found, error)
        return answered

    def _serve(self, number: int, found: Finding) -> None:
        """Have the worker follow a slot row with ``number`` active."""
        self.assign(active=number, previous=GOOD if number != GOOD else 0)
        try:
            self.client.reload()
        except AgentError as error:
            self._note_silence(found, error)

    def _expect(self, found: Finding, digests: dict[int, str], when: str) -> None:
        """Check that something serves, and that it is what its digest says."""
        try:
            status = self.client.status()
            made = self.client.infer("s", self._inputs[-1])
        except AgentError as error:
            self._note_silence(found, error)
            return
        if status.sha256 != digests.get(status.release):
            found.problems.append(f"{when}: {status.release} is loaded, not its digest")
        if made.release not in digests:
            found.problems.append(f"{when}: {made.served_by} {made.release} answers")

    def _note_silence(self, found: Finding, error: AgentError) -> None:
        """Count a worker that died or hangs, and replace it as a supervisor would."""
        found.worker_deaths += 1
        how = self.process.poll() if self.process is not None else None
        found.problems.append(f"the worker ({how}): {error.text}"[:300])
        self.kill()
        self.assign(active=GOOD)
        self.start()

    def _put(
        self, base: Base, release: Release, model: bytes, *, under: str = ""
    ) -> Path:
        """Write a release where the update side would have; return the model's path."""
        for sha256, data in base.files.items():
            self.store.path(sha256).write_bytes(data)
        place = self.store.path(under or sha256_of(model))
        place.write_bytes(model)
        self.store.write_release(release.release, encode(release))
        return place

    def _forget(self, number: int, sha256: str) -> None:
        self.store.path(sha256).unlink(missing_ok=True)
        (self.state / "releases" / f"{number}.json").unlink()

    def _number(self) -> int:
        self._next += 1
        return self._next


def _as_long(good: bytes, mutant: bytes) -> bytes:
    """Return other bytes of the mutant's length: only the digest tells them apart.

    They are not quite those of the good file, which must not be overwritten.
    """
    same = good[: len(mutant)].ljust(len(mutant), b"\0")
    return same[:-1] + bytes([mutant[-1] ^ 0xFF]) if mutant else b"\0"
