"""One sample's path, and everything that hangs on it: one object, one lock.

``infer`` asks the ladder without the lock (models run beside each other) and notes the
answer under it: number, ring, window, figures. A prediction made by a release that was
swapped out meanwhile is answered and remembered, but enters neither the new release's
window nor its figures. The worker calls this from its API and source threads.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from edge_agent.base.clock import Clock
from edge_agent.config import ProfileConfig
from edge_agent.errors import (
    AgentError,
    ModelError,
    SampleRejectedError,
    WorkerError,
)
from edge_agent.evidence.recorder import Recorder
from edge_agent.pipeline.collect import Collector, CollectState
from edge_agent.pipeline.feedback import UNKNOWN_LABEL, check_label, feedback_record
from edge_agent.pipeline.figures import Event, Figures, Tally, predicted
from edge_agent.pipeline.infer import Answer, Ladder, NoAnswerError
from edge_agent.pipeline.observe import Observer
from edge_agent.pipeline.own_inputs import OwnInputs
from edge_agent.pipeline.prediction import FROM_TOP, Given, Prediction, ServedBy
from edge_agent.pipeline.recent import Entry, OtherAnswer, Recent
from edge_agent.pipeline.shadow import Asked
from edge_agent.pipeline.shadow_place import Beside
from edge_agent.pipeline.waiting import (
    SWAPPED_OUT,
    OwnerClosedError,
    ShedError,
    Urgency,
)
from edge_agent.wire.records import AnyRecord, SampleRecord

__all__ = ["UNKNOWN_LABEL", "UNKNOWN_SAMPLE", "PathPorts", "SamplePath"]

SWAP_RETRIES = 3
BEFORE = frozenset({ServedBy.PREVIOUS})
"""Steps that a release before answered on, where the active one failed."""
API_STREAM = "api"
"""The stream of samples that come over the local API."""
UNKNOWN_SAMPLE = "AGENT-WORKER-007"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPorts:
    """What the path needs of the world."""

    clock: Clock
    emit: Callable[[AnyRecord], None]
    save_collect: Callable[[CollectState], None]
    beside: Beside = field(default_factory=Beside)
    answered: Callable[[Entry, str], None] = lambda _entry, _stream: None
    """Told every answer and its stream; must not wait."""
    recorder: Recorder | None = None
    """Keeps some of the inputs that the active release was asked."""


class SamplePath:
    """Validate, infer, observe, remember, record."""

    def __init__(
        self, profile: ProfileConfig, collector: Collector, ports: PathPorts
    ) -> None:
        """Start with no model: every sample is an error until :meth:`swap`."""
        self._profile = profile
        self._collector = collector
        self._ports = ports
        self._lock = threading.Lock()
        self._ladder = Ladder()
        self._observer: Observer | None = None
        self._tally = Tally(0, "", 0)
        self._total = Figures(0, "", [])
        self._before = Figures(0, "", [])
        self._recent = Recent()
        self._number = 0
        self._own = OwnInputs(ports.recorder)

    @property
    def ladder(self) -> Ladder:
        """What is served now."""
        return self._ladder

    @property
    def may_collect(self) -> bool:
        """Whether the device has a consent at all."""
        return self._collector.consent is not None

    def infer(
        self,
        sample_id: str,
        sample: Given,
        *,
        urgency: Urgency = Urgency.LIVE,
        stream: str = API_STREAM,
    ) -> Entry:
        """Answer one sample; see :meth:`answer`."""
        return self.answer(sample_id, sample, urgency=urgency, stream=stream)[0]

    def answer(
        self,
        sample_id: str,
        sample: Given,
        *,
        release: int = 0,
        urgency: Urgency = Urgency.LIVE,
        stream: str = API_STREAM,
    ) -> tuple[Entry, Prediction]:
        """Answer one sample, with all outputs of the model.

        Args:
            sample_id: What its label will be told by.
            sample: Not validated yet.
            release: The only one that may answer; 0: the ladder finds one.
            urgency: Whether it gives way to others.
            stream: What the sample follows (see sinks).

        Raises:
            SampleRejectedError: It fails a quality check; it is counted.
            ShedError: It is background work that gave way to live requests.
            AgentError: No step of the ladder can answer; it is counted.
        """
        self._ports.beside.after_reply()
        for _ in range(SWAP_RETRIES):
            ladder = self._ladder.only(release) if release else self._ladder
            try:
                answer = ladder.predict(sample, urgency=urgency)
            except OwnerClosedError:
                continue  # Swapped out between reading the ladder and asking it.
            except SampleRejectedError as error:
                self._note_event(ladder, Event(rejected=error.reason))
                self._own.refuse(ladder.active, sample, error.reason)
                raise
            except ShedError:
                raise  # The caller counts what it sheds; the model did nothing wrong.
            except AgentError as error:
                self._note_event(ladder, Event(failed=True))
                if isinstance(error, NoAnswerError):
                    self._note_failed(ladder, error.failures, sample, stream)
                raise
            entry = self._note_answer(ladder, sample_id, answer, stream)
            if answer.served_by is ServedBy.ACTIVE:
                self._share(ladder, sample, stream, (answer.prediction, entry))
            else:
                self._note_failed(ladder, answer.failures, sample, stream)
            self._ports.answered(entry, stream)
            return entry, answer.prediction
        raise WorkerError(SWAPPED_OUT, "models are being swapped", retryable=True)

    def feedback(self, sample_id: str, label: str) -> bool:
        """Join a true label with its prediction; false if it had one already.

        Raises:
            WorkerError: The sample is unknown or too old (``AGENT-WORKER-007``), or
                the label is none of the model's (``AGENT-WORKER-008``).
        """
        with self._lock:
            entry = self._recent.find(sample_id)
            if entry is None:
                raise WorkerError(
                    UNKNOWN_SAMPLE,
                    f"no recent prediction of sample {sample_id!r}",
                    cure="send labels sooner, and with the id of the prediction",
                )
            check_label(entry, label)
            if not self._recent.take_label(sample_id):
                return False
            now = self._ports.clock.wall()
            other = self._recent.other_of(sample_id)
            records: list[AnyRecord] = [feedback_record(entry, label, now, other)]
            sample = self._sample_record(entry, label, now)
        if sample is not None:
            records.append(sample)
        self._emit(*records)
        return True

    def collect(self, max_samples: int, until: float) -> None:
        """Start a collection of labelled samples; 0 samples end it."""
        with self._lock:
            self._collector.ask(max_samples, until, after=self._number)
            self._ports.save_collect(self._collector.state)

    def recent(self, after: int, limit: int) -> list[Entry]:
        """Return up to ``limit`` predictions above number ``after``."""
        with self._lock:
            return self._recent.after(after, limit)

    def swap(self, ladder: Ladder) -> None:
        """Serve another ladder from now on.

        Where the active release changes, its window is closed and the figures of its
        latest requests become the baseline of the next.
        """
        closed = None
        with self._lock:
            old, self._ladder = self._ladder.active, ladder
            new = ladder.active
            if old is new:
                return
            if self._observer is not None:
                closed = self._observer.close()
            self._before = self._tally.baseline()
            if new is None:
                self._observer, self._tally = None, Tally(0, "", 0)
            else:
                self._observer = Observer(new, self._profile, self._ports.clock)
                self._tally = Tally(new.release, new.sha256, len(new.labels))
            self._own.follow(new)
        self._emit(closed)

    def tick(self) -> None:
        """Close the window if it is old."""
        with self._lock:
            closed = self._observer.close_if_due() if self._observer else None
        self._emit(closed)

    def flush(self) -> None:
        """Close the window whatever its age: the process ends."""
        with self._lock:
            closed = self._observer.close() if self._observer else None
        self._emit(closed)

    def figures(self) -> tuple[Figures, Figures, Figures]:
        """Return figures since the load, of the release before, and since boot."""
        with self._lock:
            return (
                _copy(self._tally.figures),
                _copy(self._before),
                _copy(self._total),
            )

    def collect_state(self) -> tuple[CollectState, dict[str, int]]:
        """Return the state of the collection, and refusals by reason."""
        with self._lock:
            return self._collector.state, dict(self._collector.refused)

    def _share(
        self,
        ladder: Ladder,
        sample: Given,
        stream: str,
        made: tuple[Prediction, Entry] | None = None,
    ) -> None:
        """Have the release in shadow asked too, once the reply is sent."""
        active, beside = ladder.active, self._ports.beside
        turn = beside.take_turn(active.release, stream) if active is not None else None
        if turn is None or active is None:
            return
        answer, entry = made or (None, None)
        asked = Asked(
            sample=sample,
            answer=answer,
            attach=partial(self._attach, entry) if entry and entry.label else None,
            stateful=active.stateful,
        )
        beside.note(turn, asked, active.owner)

    def _attach(self, entry: Entry, other: OtherAnswer) -> bool:
        """Keep another release's answer; true where the sample has its label."""
        with self._lock:
            return self._recent.attach(entry, other)

    def _note_event(self, ladder: Ladder, event: Event) -> None:
        with self._lock:
            self._total.add(event)
            if ladder.active is None or ladder.active is not self._ladder.active:
                return
            self._tally.add(event)
            if event.rejected and self._observer is not None:
                self._observer.reject(event.rejected)

    def _note_failed(
        self,
        ladder: Ladder,
        failures: Sequence[AgentError],
        sample: Given,
        stream: str,
    ) -> None:
        """Have a sample asked and kept that the active release itself failed on.

        A release that was not asked, or not in time, may be good at it.
        """
        active = ladder.active
        if active is None or active.is_factory:
            return
        if not failures or not isinstance(failures[0], ModelError):
            return
        self._share(ladder, sample, stream)
        with self._lock:
            is_served = active is self._ladder.active
            now = self._ports.clock.mono()
            due = self._own.count(stream, now) if is_served else None
        self._own.keep_failed(due, active, sample)

    def _note_answer(
        self, ladder: Ladder, sample_id: str, answer: Answer, stream: str
    ) -> Entry:
        made = answer.prediction
        event = predicted(made.index, made.confidence, made.latency_us)
        closed, due = None, None
        with self._lock:
            self._number += 1
            entry = self._entry(ladder, sample_id, answer)
            # A record has room for one input; samples of several stay here.
            wanted = self._collector.consent is not None and not made.extra
            inputs = made.inputs if wanted else None
            self._recent.add(entry, inputs)
            self._total.add(event)
            if ladder.active is not None and ladder.active is self._ladder.active:
                by_active = answer.served_by in FROM_TOP
                fell = Event(failed=True, fallback=answer.served_by in BEFORE)
                self._tally.add(event if by_active else fell)
                if by_active and self._observer is not None:
                    closed = self._observer.add(made)
                    if answer.served_by is ServedBy.ACTIVE:
                        due = self._own.count(stream, self._observer.read_at)
        self._own.keep(due, made)
        self._emit(closed)
        return entry

    def _entry(self, ladder: Ladder, sample_id: str, answer: Answer) -> Entry:
        made = answer.prediction
        by = {ServedBy.RULE: None, ServedBy.PREVIOUS: ladder.previous}
        loaded = by.get(answer.served_by, ladder.active)
        return Entry(
            number=self._number,
            sample_id=sample_id,
            at=self._ports.clock.wall(),
            release=made.release,
            label=made.label,
            labels=loaded.labels if loaded is not None else (),
            confidence=made.confidence,
            probabilities=made.probabilities,
            served_by=answer.served_by,
            latency_us=made.latency_us,
            outputs={} if made.label else made.outputs,
        )

    def _sample_record(
        self, entry: Entry, label: str, now: float
    ) -> SampleRecord | None:
        inputs = self._recent.inputs_of(entry.sample_id)
        usable = inputs is not None and inputs.size > 0
        consent = self._collector.take(now, entry.number, has_input=usable)
        if not consent or inputs is None:
            return None
        self._ports.save_collect(self._collector.state)
        return SampleRecord(
            at=now,
            sample_id=entry.sample_id,
            release=entry.release,
            consent=consent,
            label=label,
            predicted=entry.label,
            shape=list(inputs.shape),
            data=inputs.astype("<f4").tobytes(),
        )

    def _emit(self, *records: AnyRecord | None) -> None:
        # Outside the lock: a full queue may make this wait.
        for record in records:
            if record is not None:
                self._ports.emit(record)


def _copy(figures: Figures) -> Figures:
    return replace(
        figures,
        class_counts=list(figures.class_counts),
        rejected=Counter(figures.rejected),
        latency=Counter(figures.latency),
    )
