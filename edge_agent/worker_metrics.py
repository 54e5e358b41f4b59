"""The worker's figures for Prometheus. A scrape reads; it changes nothing.

Counters begin at 0 with the worker. No line is of a sample, and no name has labels
without bound: reasons, lanes and statuses are few.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import StoreError
from edge_agent.pipeline.path import SamplePath
from edge_agent.serve.oip.metrics import (
    Family,
    Sample,
    by_label,
    counter,
    gauge,
    latency_histogram,
    render_metrics,
)
from edge_agent.store.outbox import LaneStats
from edge_agent.wire.records import ShadowSummary
from edge_agent.wire.topics import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPorts:
    """Where figures beside the sample path's come from."""

    outbox: Callable[[], dict[Lane, LaneStats]]
    dropped: Callable[[], int]
    rss_bytes: Callable[[], int]
    uptime_s: Callable[[], float]
    shadow: Callable[[], ShadowSummary]


class WorkerMetrics:
    """Gathers the figures, and counts HTTP's answers itself."""

    def __init__(self, path: SamplePath, ports: MetricsPorts) -> None:
        """Read from ``path`` and ``ports``."""
        self._path = path
        self._ports = ports
        self._lock = threading.Lock()
        self._answers: Counter[str] = Counter()

    def count_answer(self, status: int) -> None:
        """Count one response of the HTTP API."""
        with self._lock:
            self._answers[str(int(status))] += 1

    def text(self) -> str:
        """Return all figures as text."""
        return render_metrics(
            [
                *self._inference(),
                *self._shadow(),
                *self._process(),
                *self._outbox(),
            ]
        )

    def _inference(self) -> list[Family]:
        _, _, total = self._path.figures()
        return [
            counter("shoal_predictions_total", "Samples answered.", total.predictions),
            counter(
                "shoal_errors_total", "Samples nothing could answer.", total.errors
            ),
            by_label(
                "shoal_rejected_total",
                "Samples refused by a quality check.",
                "reason",
                dict(total.rejected),
            ),
            latency_histogram(
                "shoal_prediction_seconds",
                "Time of validation and inference; its sum is exact to 2.2 %.",
                total.latency,
            ),
            self._release(),
        ]

    def _release(self) -> Family:
        ladder = self._path.ladder
        steps = (("active", ladder.active), ("previous", ladder.previous))
        return Family(
            name="shoal_release_info",
            kind="gauge",
            help="What is loaded, by the step of the ladder that it answers at.",
            samples=[
                Sample(
                    value=1,
                    labels={
                        "step": step,
                        "model": loaded.name,
                        "release": str(loaded.release),
                        "sha256": loaded.sha256,
                    },
                )
                for step, loaded in steps
                if loaded is not None
            ],
        )

    def _shadow(self) -> list[Family]:
        summary = self._ports.shadow()
        if not summary.release:
            return []
        counts = {
            "compared": summary.n,
            "failed": summary.errors,
            "dropped": summary.dropped,
        }
        release = str(summary.release)
        return [
            Family(
                name="shoal_shadow_samples",
                kind="gauge",
                help="Samples that the release in shadow was given.",
                samples=[
                    Sample(value=count, labels={"release": release, "outcome": outcome})
                    for outcome, count in counts.items()
                ],
            ),
            gauge(
                "shoal_shadow_disagreement_ratio",
                "Share of them with another class than the active release's.",
                summary.disagreement_ratio,
            ),
        ]

    def _process(self) -> list[Family]:
        with self._lock:
            answers = dict(self._answers)
        ports = self._ports
        return [
            by_label(
                "shoal_http_responses_total", "Answers of this API.", "status", answers
            ),
            gauge("shoal_worker_resident_bytes", "Memory in use.", ports.rss_bytes()),
            gauge("shoal_worker_uptime_seconds", "Time since start.", ports.uptime_s()),
            counter(
                "shoal_records_dropped_total",
                "Records lost because the disk took none for too long.",
                ports.dropped(),
            ),
        ]

    def _outbox(self) -> list[Family]:
        try:
            lanes = self._ports.outbox()
        except StoreError:
            # A scrape tells of the disk by what is missing, not by failing.
            return []
        return [
            Family(
                name="shoal_outbox_pending_records",
                kind="gauge",
                help="Records that the hub has not acknowledged.",
                samples=[
                    Sample(value=stats.pending, labels={"lane": lane.value})
                    for lane, stats in lanes.items()
                ],
            ),
            by_label(
                "shoal_outbox_evicted_total",
                "Records given up because their lane was full.",
                "lane",
                {lane.value: stats.evicted for lane, stats in lanes.items()},
            ),
        ]
