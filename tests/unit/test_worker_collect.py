"""When a labelled raw sample may leave the device."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from edge_agent.config import ConsentConfig
from edge_agent.pipeline.collect import (
    Collector,
    CollectState,
    Refusal,
    decide_collect,
)

NOW = 1_000_000.0
CONSENT = ConsentConfig(
    name="study", expires_at=datetime.fromtimestamp(NOW + 10, UTC), max_samples=5
)
ASKED = CollectState(consent="study", max_samples=3, until=NOW + 5)


@pytest.mark.parametrize(
    ("consent", "state", "now", "expected"),
    [
        (CONSENT, ASKED, NOW, None),
        (None, ASKED, NOW, Refusal.NO_CONSENT),
        (CONSENT, ASKED, NOW + 10, Refusal.EXPIRED),
        (CONSENT, replace(ASKED, used=5), NOW, Refusal.USED_UP),
        (CONSENT, replace(ASKED, used=5, consent="older"), NOW, None),
        (CONSENT, replace(ASKED, max_samples=0), NOW, Refusal.NOT_ASKED),
        (CONSENT, CollectState(), NOW, Refusal.NOT_ASKED),
        (CONSENT, replace(ASKED, taken=3), NOW, Refusal.FULL),
        (CONSENT, ASKED, NOW + 5, Refusal.ENDED),
        (CONSENT, replace(ASKED, until=0.0), NOW + 9, None),
        (replace(CONSENT, max_samples=2), replace(ASKED, used=2), NOW, Refusal.USED_UP),
    ],
)
def test_samples_leave_only_under_a_consent_that_holds(
    consent: ConsentConfig | None,
    state: CollectState,
    now: float,
    expected: Refusal | None,
) -> None:
    """Every condition is needed, and the first that fails is the reason."""
    assert decide_collect(consent, state, now) == expected


def test_an_expiry_without_zone_is_utc() -> None:
    """A naive expiry in the configuration is read as UTC."""
    naive = datetime.fromtimestamp(NOW + 10, UTC).replace(tzinfo=None)
    consent, endless = replace(CONSENT, expires_at=naive), replace(ASKED, until=0.0)
    assert decide_collect(consent, endless, NOW + 9.5) is None
    assert decide_collect(consent, endless, NOW + 10) is Refusal.EXPIRED


def test_both_maxima_are_counted() -> None:
    """Each sample counts against collection and consent; a new one starts over."""
    collector = Collector(CONSENT)
    collector.ask(3, NOW + 5, after=0)
    taken = [collector.take(NOW, 1, has_input=True) for _ in range(4)]
    assert taken == ["study", "study", "study", ""]
    collector.ask(3, NOW + 5, after=0)
    taken = [collector.take(NOW, 1, has_input=True) for _ in range(3)]
    assert taken == ["study", "study", ""]
    assert collector.refused == {"full": 1, "used_up": 1}


def test_a_sample_whose_input_is_gone_does_not_count() -> None:
    """Only a sample that can be sent uses the consent."""
    collector = Collector(CONSENT)
    collector.ask(3, 0.0, after=0)
    assert not collector.take(NOW, 1, has_input=False)
    assert collector.state.used == 0
    assert collector.refused == {"no_input": 1}


def test_what_was_predicted_before_the_collection_stays() -> None:
    """Its label may come only now, but it shows the world as it was."""
    collector = Collector(CONSENT)
    collector.ask(3, 0.0, after=7)

    assert not collector.take(NOW, 7, has_input=True)
    assert collector.take(NOW, 8, has_input=True)
    assert collector.refused == {"before": 1}
