"""The gate's verdict, as a table of what it must say."""

import pytest

from trainer.gate.choice import Variant, choose
from trainer.gate.verdict import Evidence, Limits, Score, judge


def of(accuracy: float, n: int = 1000) -> Score:
    """Return a score of this accuracy."""
    return Score(n=n, correct=round(accuracy * n))


@pytest.mark.parametrize(
    ("right", "n", "ok"),
    [(0.9, 1000, True), (0.5, 1000, True), (0.49, 1000, False), (0.0, 0, False)],
)
def test_a_first_model_needs_the_floor(right: float, n: int, *, ok: bool) -> None:
    """A first model passes at the floor and above, never without samples."""
    report = judge(Evidence(candidate={"right": of(right, n)}), Limits())
    assert report.ok is ok
    assert [check.name for check in report.checks] == ["accuracy.right", "latency_us"]


@pytest.mark.parametrize(
    ("right", "left", "failed"),
    [
        (0.80, 0.80, []),
        (0.76, 0.80, []),
        (0.80, 0.35, ["gain"]),
        (0.60, 0.80, ["keeps.right"]),
        (0.50, 0.50, ["gain", "keeps.right"]),
    ],
)
def test_a_retrained_model_must_gain_and_keep(
    right: float, left: float, failed: list[str]
) -> None:
    """Against (0.80 right, 0.30 left) it must win in the mean and keep the right."""
    evidence = Evidence(
        candidate={"right": of(right), "left": of(left)},
        incumbent={"right": of(0.80), "left": of(0.30)},
        incumbent_release=3,
        overlap=5.0,
    )
    report = judge(evidence, Limits())
    assert [check.name for check in report.checks if not check.ok] == failed
    assert report.ok is (not failed)
    assert report.incumbent == 3


def test_a_segment_served_badly_is_not_defended() -> None:
    """Only segments that the incumbent served well are checked for losses."""
    evidence = Evidence(
        candidate={"right": of(0.9), "left": of(0.1)},
        incumbent={"right": of(0.6), "left": of(0.3)},
    )
    names = [check.name for check in judge(evidence, Limits()).checks]
    assert "keeps.right" in names
    assert "keeps.left" not in names


@pytest.mark.parametrize(
    ("agreement", "latency_us", "ok"),
    [(0.99, 100.0, True), (0.90, 100.0, False), (0.99, 60_000.0, False)],
)
def test_the_file_itself_is_checked(
    agreement: float, latency_us: float, *, ok: bool
) -> None:
    """Disagreement with the float variant or a slow file is refused."""
    evidence = Evidence(
        candidate={"right": of(0.9)}, agreement=agreement, latency_us=latency_us
    )
    assert judge(evidence, Limits()).ok is ok


BASE = Variant(
    name="float32", bytes=40_000, accuracy=0.90, agreement=1.0, latency_us=10.0
)


@pytest.mark.parametrize(
    ("accuracy", "agreement", "latency_us", "chosen"),
    [
        (0.900, 0.99, 8.0, "int8"),
        (0.900, 0.99, 10.1, "int8"),
        (0.900, 0.99, 12.0, "float32"),
        (0.920, 0.99, 12.0, "int8"),
        (0.890, 0.99, 5.0, "float32"),
        (0.900, 0.90, 5.0, "float32"),
    ],
)
def test_a_variant_must_earn_its_place(
    accuracy: float, agreement: float, latency_us: float, chosen: str
) -> None:
    """The float file ships unless another is better, or as good and cheaper."""
    other = Variant(
        name="int8",
        bytes=20_000,
        accuracy=accuracy,
        agreement=agreement,
        latency_us=latency_us,
    )
    choice = choose(BASE, (other,))
    assert choice.variant == chosen
    assert "int8" in choice.reason


@pytest.mark.parametrize(
    ("keep", "accuracy", "agreement", "chosen"),
    [
        ("float32", 0.90, 0.99, "float32"),
        ("int8", 0.90, 0.99, "int8"),
        ("int8", 0.88, 0.99, "float32"),
        ("int8", 0.90, 0.90, "float32"),
        ("float16", 0.90, 0.99, "int8"),
    ],
)
def test_the_incumbents_variant_stays_if_it_is_as_good(
    keep: str, accuracy: float, agreement: float, chosen: str
) -> None:
    """Devices then fetch a patch; latency does not decide between such files."""
    other = Variant(
        name="int8",
        bytes=20_000,
        accuracy=accuracy,
        agreement=agreement,
        latency_us=20.0 if keep == "int8" else 8.0,
    )
    assert choose(BASE, (other,), keep).variant == chosen


@pytest.mark.parametrize("keep", ["", "int8"])
def test_what_the_gate_would_refuse_is_not_chosen(keep: str) -> None:
    """However accurate it was in training, and though the incumbent is of its kind."""
    other = Variant(
        name="int8",
        bytes=1000,
        accuracy=BASE.accuracy + 0.02,
        agreement=0.99,
        latency_us=BASE.latency_us / 2,
        held_agreement=0.94,
    )

    choice = choose(BASE, (other,), keep)

    assert choice.variant == BASE.name
    assert "94.0%" in choice.reason
