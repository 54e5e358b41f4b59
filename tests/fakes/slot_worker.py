"""A worker for tests of the update side: it loads what the slot row names."""

from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import Figures, SlotStore
from edge_agent.update.shadow import ShadowState
from edge_agent.update.worker_port import Loaded, WorkerFigures
from edge_agent.wire.records import ShadowSummary

BOOT = "a" * 16


class SlotWorker:
    """A worker that really loads what the slot row names."""

    def __init__(self, slots: SlotStore, store: ArtifactStore, *, bad: bool) -> None:
        """Answer with the active release; a bad device errs with all but release 1."""
        self._slots = slots
        self._store = store
        self._bad = bad
        self.reload()

    def reload(self) -> Loaded:
        """Load the active release, as the worker does at its start."""
        active = self._slots.read().active
        if active:
            self._store.load_release(active)
        self._active = active
        return Loaded(release=active, sha256="ab" * 32 if active else "")

    def shadow(self) -> ShadowState:
        """Return a shadow that has not begun."""
        return ShadowState(summary=ShadowSummary(release=0))

    def figures(self) -> WorkerFigures:
        """Return plenty of predictions."""
        errors = 50 if self._bad and self._active > 1 else 0
        now = Figures(release=self._active, predictions=100, errors=errors)
        return WorkerFigures(now=now, before=None)
