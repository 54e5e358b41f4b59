"""A device whose releases come with patches: real TUF, HTTP, journal and models."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.config import OutboxConfig
from edge_agent.errors import UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.update.download import Ways
from edge_agent.update.metadata import Trust
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.states import AT_REST, Phase
from edge_agent.wire.batch import decode_record
from edge_agent.wire.manifest import delta_target
from edge_agent.wire.records import UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.agent_hub import artifact_server, wait_for
from tests.fakes.releases import NAME, MadeRelease, assign, make_release, model_of
from tests.fakes.slot_worker import BOOT, SlotWorker
from tests.fakes.tuf_repository import TufRepository, sha256_of

DEMO = Path(__file__).parents[1] / "data" / "demo"
FIRST, SECOND = DEMO / "first.float32.tflite", DEMO / "bn_head.float32.tflite"


class DeltaDevice:
    """A device and its hub: two releases, patches between them, what was fetched."""

    def __init__(self, home: Path) -> None:
        """Sign both releases; the device has neither yet."""
        self.home = home
        self.repository = TufRepository()
        self.told: list[UpdateError] = []
        self.fetched: list[str] = []
        self.artifacts: dict[str, bytes] = {}
        self.on_ask: Callable[[str], None] = lambda _: None
        self.releases = [
            make_release(self.repository, number, source=source)
            for number, source in ((1, FIRST), (2, SECOND))
        ]
        for made in self.releases:
            self.artifacts |= made.artifacts

    @property
    def base(self) -> bytes:
        """The model of release 1."""
        return model_of(1, FIRST)

    @property
    def target(self) -> bytes:
        """The model of release 2."""
        return model_of(2, SECOND)

    @property
    def store(self) -> ArtifactStore:
        """The device's artifacts."""
        return ArtifactStore(self.home)

    def sign_patch(self, patch: bytes, base: bytes | None = None) -> None:
        """Offer a patch to release 2, from release 1 or from ``base``."""
        digest = sha256_of(self.base if base is None else base) if base != b"" else ""
        self.repository.add({delta_target(NAME, 2, digest): patch})
        self.artifacts[sha256_of(patch)] = patch

    def activate(self, made: MadeRelease) -> None:
        """Bring a release to rest on the device."""
        self.home.mkdir(exist_ok=True)
        store = self.store
        slots = SlotStore(self.home / "agent.db", BOOT)
        trust = Trust(self.home / "tuf", self.repository.root_versions[0])
        ways = Ways(
            interrupted=lambda: False,
            tell=self.told.append,
            local=self.home / "brought",
        )
        worker = SlotWorker(slots, store, bad=False)
        runner = UpdateRunner(
            "d1",
            slots,
            Phases(store, trust, worker, ways),
            SystemClock(),
            on_change=lambda _: None,
        )
        runner.recover()
        runner.on_metadata(self.repository.bundle())
        with artifact_server(Recording(self.artifacts, self._ask)) as (url, _):
            wanted = assign(made, "d1", made.number, url)
            runner.on_desired(self.repository.assign(wanted))

            def at_rest() -> bool:
                runner.tick()
                phase = Phase(runner.state.phase)
                return phase in AT_REST and runner.state.seq == made.number

            wait_for(at_rest, f"release {made.number} to come to rest")
        assert runner.state.active == made.number, runner.state
        slots.close()

    def _ask(self, sha256: str) -> None:
        self.fetched.append(sha256)
        self.on_ask(sha256)

    def details(self) -> list[str]:
        """Return what the device told about the phases of release 2."""
        outbox = Outbox(self.home / "agent.db", BOOT, OutboxConfig())
        rows = outbox.read(BOOT, Lane.STATE, 0, max_records=99, max_bytes=1 << 20)
        outbox.close()
        records = [decode_record(body) for _, body in rows]
        return [
            record.detail
            for record in records
            if isinstance(record, UpdateRecord) and record.release == 2
        ]


class Recording(Mapping[str, bytes]):
    """Artifacts that tell what is asked for."""

    def __init__(
        self, artifacts: Mapping[str, bytes], ask: Callable[[str], None]
    ) -> None:
        """Tell ``ask``."""
        self._artifacts, self._ask = artifacts, ask

    def __getitem__(self, sha256: str) -> bytes:
        """Return an artifact."""
        self._ask(sha256)
        return self._artifacts[sha256]

    def __iter__(self) -> Iterator[str]:
        """Name all artifacts."""
        return iter(self._artifacts)

    def __len__(self) -> int:
        """Count the artifacts."""
        return len(self._artifacts)
