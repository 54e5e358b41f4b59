"""From the slot row to the ladder: what to load, what to keep, what to say.

Invariants: bytes are verified at every load; a release is tried on a sample, with its
reference profile, before it is served; what cannot be loaded changes nothing where
something is served already (at the start, ``previous`` steps in); where no release can
be loaded, the factory model is; what is in memory is not loaded again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import AgentError
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.prediction import Predictor
from edge_agent.pipeline.rows import channel_values
from edge_agent.pipeline.shadow import Opened
from edge_agent.runtime.state import keeps_state
from edge_agent.runtime.telling import trial_sample
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.store.factory import FACTORY_RELEASE

MODEL_LOADED = "model.loaded"
MODEL_FAILED = "model.load.failed"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The ladder to serve, and why it is not the one the row asks for, or ""."""

    ladder: Ladder
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPorts:
    """What loading needs: the engine's constructor, and a thread for each owner.

    ``factory`` reads the factory model, where there is one.
    """

    open_engine: Callable[[LoadedRelease], Predictor]
    spawn: Callable[[str, Callable[[], None]], object]
    factory: Callable[[], LoadedRelease] | None = None


class SlotLoader:
    """Loads what the slot row names."""

    def __init__(self, store: ArtifactStore, fallback: str, ports: LoadPorts) -> None:
        """Load from ``store``; ``fallback`` is the last step of every ladder."""
        self._store = store
        self._fallback = fallback
        self._ports = ports

    def follow(self, active: int, previous: int, current: Ladder) -> Loading:
        """Return the ladder for the slot row's two numbers (0: none)."""
        problems: list[str] = []
        first = self._get(active, current, problems)
        if active and first is None and current.active is not None:
            return Loading(ladder=current, problem="; ".join(problems))
        second = self._get(previous, current, problems) if previous != active else None
        if active and first is None:
            first, second = second, None
        first = first or self._factory(current, problems)
        ladder = Ladder(active=first, previous=second, fallback=self._fallback)
        return Loading(ladder=ladder, problem="; ".join(problems))

    def _get(self, release: int, current: Ladder, problems: list[str]) -> Loaded | None:
        if not release:
            return None
        for loaded in (current.active, current.previous):
            if loaded is not None and loaded.release == release:
                return loaded
        return self._fresh(release, self._store.load_release, problems)

    def _factory(self, current: Ladder, problems: list[str]) -> Loaded | None:
        read = self._ports.factory
        if read is None:
            return None
        if current.active is not None and current.active.is_factory:
            return current.active
        return self._fresh(FACTORY_RELEASE, lambda _: read(), problems)

    def _fresh(
        self, release: int, read: Callable[[int], LoadedRelease], problems: list[str]
    ) -> Loaded | None:
        try:
            fresh = self._load(read(release))
        except AgentError as error:
            log.error(  # noqa: TRY400 - the text says it all
                MODEL_FAILED, extra={"release": release, "why": str(error)}
            )
            what = f"release {release}" if release else "factory model"
            problems.append(f"{what}: {error.code}: {error.text}")
            return None
        log.info(MODEL_LOADED, extra={"release": release, "sha256": fresh.sha256})
        return fresh

    def open_candidate(self, release: int) -> Opened:
        """Load a release that shall run in shadow, and try it on a sample.

        Raises:
            AgentError: It cannot be loaded or run.
        """
        files = self._store.load_release(release)
        labels = tuple(files.release.bundle.labels)
        return Opened(
            predictor=self._open(files),
            labels=labels,
            stateful=keeps_state(files.model),
        )

    def _open(self, files: LoadedRelease) -> Predictor:
        engine = self._ports.open_engine(files)
        trial = trial_sample(files.release.bundle.inputs)
        try:
            made = engine.predict(trial)
            channel_values(files.reference.channels, made)
        except AgentError:
            engine.close()
            raise
        return engine

    def _load(self, files: LoadedRelease) -> Loaded:
        release, bundle = files.release.release, files.release.bundle
        engine = self._open(files)
        owner = Owner(engine)
        self._ports.spawn(f"model-{release}", owner.run)
        return Loaded(
            owner=owner,
            name=bundle.name,
            release=release,
            sha256=bundle.model.sha256,
            labels=tuple(bundle.labels),
            contract=bundle.input,
            extra_inputs=bundle.inputs[1:],
            outputs=tuple(bundle.outputs),
            reference=files.reference,
            reference_sha256=bundle.reference.sha256,
            is_factory=release == FACTORY_RELEASE,
            stateful=keeps_state(files.model),
        )


def close_unused(old: Ladder, new: Ladder) -> None:
    """Close the owners that only the old ladder has; waiting requests are answered."""
    kept = {id(loaded) for loaded in (new.active, new.previous)}
    for loaded in (old.active, old.previous):
        if loaded is not None and id(loaded) not in kept:
            loaded.owner.close()
