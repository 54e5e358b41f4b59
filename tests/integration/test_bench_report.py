"""The bench's report, and the one of its figures that no machine's speed changes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.perf import wire_bytes
from tests.perf.__main__ import SUITES, main
from tests.perf.report import Metric, medians, print_metrics, write_json


def test_batches_of_the_demos_records_are_a_third_of_plain_json(
    tmp_path: Path,
) -> None:
    """The target of the wire holds on what the demo's devices really sent."""
    whole = wire_bytes.measure(tmp_path)[0]

    assert (whole.name, whole.holds) == ("wire_bytes", True)


def test_a_report_has_value_unit_target_and_verdict(tmp_path: Path) -> None:
    """The file says the same as the table; without a target there is no verdict."""
    metrics = [
        Metric(name="rate", value=120.0, unit="records/s", at_least=100),
        Metric(name="amplification", value=5.0, unit="bytes/byte", at_most=4),
        Metric(name="fsync", value=0.5, unit="ms"),
    ]

    write_json(tmp_path / "report.json", metrics)

    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert document["metrics"] == {
        "rate": {"value": 120, "unit": "records/s", "target": "≥ 100", "holds": True},
        "amplification": {
            "value": 5,
            "unit": "bytes/byte",
            "target": "≤ 4",
            "holds": False,
        },
        "fsync": {"value": 0.5, "unit": "ms", "target": None, "holds": None},
    }
    assert document["machine"]["cores"] >= 1


def test_figures_are_medians_of_several_rounds() -> None:
    """One slow round changes nothing."""
    rounds = iter([{"a": 1.0}, {"a": 99.0}, {"a": 2.0}])

    assert medians(lambda: next(rounds), rounds=3) == {"a": 2.0}


def test_the_command_names_its_suites() -> None:
    """An unknown suite is a usage error that lists the known ones."""
    done = CliRunner().invoke(main, ["nothing"])

    assert done.exit_code == 2
    assert all(name in done.output for name in SUITES)


def test_the_table_has_a_line_a_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, value, unit, target and verdict stand in one line."""
    print_metrics([Metric(name="rate", value=120.0, unit="records/s", at_least=100)])

    assert capsys.readouterr().out.splitlines()[1].split() == [
        "rate",
        "120",
        "records/s",
        "≥",
        "100",
        "yes",
    ]
