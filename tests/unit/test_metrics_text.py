"""Figures as Prometheus reads them, checked with Prometheus' own reader."""

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.serve.oip.metrics import (
    by_label,
    counter,
    gauge,
    latency_histogram,
    render_metrics,
)
from edge_agent.sketch.latency import bin_of


def test_the_text_is_what_prometheus_reads() -> None:
    """Names, kinds, labels of any text, and numbers come back."""
    odd = 'a"b\\c\nd'
    text = render_metrics(
        [
            counter("made_total", "Made.", 3),
            gauge("heat", "Warm.", -0.25),
            by_label("refused_total", "Not taken.", "reason", {odd: 2, "shape": 1}),
        ]
    )
    made, heat, refused = text_string_to_metric_families(text)

    assert (made.type, made.samples[0].value) == ("counter", 3)
    assert (heat.type, heat.documentation) == ("gauge", "Warm.")
    assert heat.samples[0].value == -0.25
    assert {one.labels["reason"]: one.value for one in refused.samples} == {
        odd: 2,
        "shape": 1,
    }


def test_a_histogram_counts_exactly_below_each_bound() -> None:
    """Counts at a bound are those of the latencies, and the sum is close to theirs."""
    rng = np.random.default_rng(3)
    latencies = 10 ** rng.uniform(0, 7, 2000)
    bins: dict[int, int] = {}
    for latency in latencies:
        bins[bin_of(latency)] = bins.get(bin_of(latency), 0) + 1
    (family,) = text_string_to_metric_families(
        render_metrics([latency_histogram("took_seconds", "Took.", bins)])
    )

    assert family.type == "histogram"
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"]) * 1e6
            assert sample.value == int((latencies < bound).sum())
        elif sample.name.endswith("_count"):
            assert sample.value == 2000
        else:
            assert abs(sample.value * 1e6 / latencies.sum() - 1) < 0.022
