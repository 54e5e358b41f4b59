"""Watches accuracy by labels that arrive late: a Bernoulli CUSUM on errors.

``p0`` is the error ratio of the first labels under the release (its own, not what the
trainer promised), ``p1 = p0 + drop`` the one that must be found soon. Each label adds
its log likelihood ratio ``ln(p1/p0)`` (wrong) or ``ln((1-p1)/(1-p0))`` (right), never
below 0; at :data:`THRESHOLD` it fires, if the 95 % intervals of the newest and of the
first labels are apart too (``p0`` is itself estimated from few labels). By
Wald's bound the mean number of labels between false alarms is at least
``exp(THRESHOLD)``, :data:`LABELS_BETWEEN_ALARMS`.
(Page, 1954; Reynolds and Stoumbos, 1999.)

All that holds for independent labels. Windows of a stream that overlap ``overlap``
times are right or wrong together: every label then counts as ``1 / overlap`` of one,
in the statistic, in the intervals, and in how many make a baseline.

Pure: called by ``hub/monitor/service.py`` with labels in event order.
"""

import math
from collections import deque
from dataclasses import dataclass, field

LABELS_BETWEEN_ALARMS = 5000
THRESHOLD = math.log(LABELS_BETWEEN_ALARMS)
P_MIN, P_MAX = 0.01, 0.95
_Z95 = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A ratio with its 95 % interval."""

    ratio: float
    low: float
    high: float


def score_accuracy(right: int, labels: int, overlap: float = 1.0) -> Interval:
    """Return accuracy with Wilson's 95 % interval (0 to 1 without labels)."""
    if not labels:
        return Interval(ratio=0.0, low=0.0, high=1.0)
    n = labels / overlap
    p, z2 = right / labels, _Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Interval(ratio=p, low=max(0.0, middle - half), high=min(1.0, middle + half))


@dataclass(slots=True, kw_only=True)
class AccuracyWatch:
    """The detector for one release in one cohort.

    ``min_labels`` is in independent labels, ``span`` in those that come.
    ``fired_label`` (counted from 1) and ``fired_at`` tell when it fired. It takes
    itself back once the newest ``span`` labels show an error ratio within half the
    drop of ``p0``.
    """

    min_labels: int
    drop: float
    overlap: float = 1.0
    labels: int = 0
    baseline_errors: int = 0
    statistic: float = 0.0
    fired_label: int = 0
    fired_at: float = 0.0
    newest: deque[bool] = field(init=False)

    def __post_init__(self) -> None:
        """Keep the newest ``span`` labels."""
        self.newest = deque(maxlen=self.span)

    @property
    def span(self) -> int:
        """How many labels make a baseline, and the newest figure."""
        return math.ceil(self.min_labels * self.overlap)

    @property
    def is_ready(self) -> bool:
        """Whether ``p0`` is known and labels came after it."""
        return self.labels > self.span

    @property
    def has_fired(self) -> bool:
        """Whether accuracy is held to have dropped."""
        return self.fired_label > 0

    @property
    def p0(self) -> float:
        """Error ratio of the release's own first labels, kept off 0 and 1."""
        n = min(self.labels, self.span)
        ratio = self.baseline_errors / n if n else 0.0
        return min(max(ratio, P_MIN), P_MAX - self.drop)

    @property
    def p1(self) -> float:
        """Error ratio to be found."""
        return self.p0 + self.drop

    @property
    def accuracy(self) -> Interval:
        """Accuracy over the newest labels."""
        return score_accuracy(sum(self.newest), len(self.newest), self.overlap)

    def add(self, *, correct: bool, at: float) -> None:
        """Take one label; ``at`` is when its prediction was made."""
        self.labels += 1
        self.newest.append(correct)
        if self.labels <= self.span:
            self.baseline_errors += not correct
            return
        p0, p1 = self.p0, self.p1
        step = math.log((1 - p1) / (1 - p0)) if correct else math.log(p1 / p0)
        self.statistic = max(0.0, self.statistic + step / self.overlap)
        if not self.has_fired and self._shows_drop():
            self.fired_label, self.fired_at = self.labels, at
        elif self.has_fired and self._has_recovered():
            self.statistic, self.fired_label, self.fired_at = 0.0, 0, 0.0

    def _shows_drop(self) -> bool:
        if self.statistic < THRESHOLD:
            return False
        right = self.span - self.baseline_errors
        first = score_accuracy(right, self.span, self.overlap)
        return self.accuracy.high < first.low

    def _has_recovered(self) -> bool:
        since = self.labels - self.fired_label
        errors = 1 - self.accuracy.ratio
        return since >= self.span and errors < self.p0 + self.drop / 2
