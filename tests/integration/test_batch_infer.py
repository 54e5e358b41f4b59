"""`edge-agent infer --output`: whole files through a model, into a table."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.batch.meter import Meter
from edge_agent.batch.run import infer_table
from edge_agent.engine import Engine
from edge_agent.heartbeat import rss_bytes
from tests.fakes.worker_device import LABELS, samples

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "tiny.tflite"
ROOT = Path(__file__).parents[2]


def ask(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", "infer", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Return a file of three samples, the second of which has a NaN."""
    values = samples(3).reshape(300, 6)
    values[150, 2] = np.nan
    np.savetxt(tmp_path / "in.csv", values, delimiter=",")
    return tmp_path / "in.csv"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """Return a file of class names."""
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _expected() -> list[tuple[str, float]]:
    engine = Engine(MODEL.read_bytes(), labels=LABELS)
    made = [engine.predict(sample) for sample in samples(3)]
    engine.close()
    return [(one.label, one.confidence) for one in made]


def test_a_csv_becomes_a_csv(given: Path, names: Path, tmp_path: Path) -> None:
    """A row a sample, in order; what was rejected says why."""
    out = tmp_path / "out.csv"
    done = ask(
        *("--model", MODEL, "--labels", names, "--input", given, "--output", out)
    )
    assert done.returncode == 0, done.stderr
    assert "3 samples" in done.stdout
    assert "1 rejected (not_finite)" in done.stdout
    assert "\r" not in done.stderr
    rows = _table(out)
    assert [row["sample_id"] for row in rows] == ["in@0", "in@100", "in@200"]
    expected = _expected()
    for at in (0, 2):
        assert rows[at]["label"] == expected[at][0]
        assert float(rows[at]["confidence"]) == pytest.approx(expected[at][1], rel=1e-4)
        assert float(rows[at][f"p.{expected[at][0]}"]) == pytest.approx(
            expected[at][1], rel=1e-4
        )
    assert rows[1]["rejected"] == "not_finite"
    assert rows[1]["label"] == rows[1]["p.move 0"] == ""


def test_the_kinds_of_tables_agree(given: Path, tmp_path: Path) -> None:
    """CSV and npz hold the same; Parquet's test holds it to the CSV."""
    for kind in ("csv", "npz"):
        done = ask(
            *("--model", MODEL, "--input", given),
            *("--output", tmp_path / f"out.{kind}", "--json"),
        )
        assert done.returncode == 0, done.stderr
        account = json.loads(done.stdout)
        assert (account["samples"], account["answered"]) == (3, 2)
        assert account["rejected"] == {"not_finite": 1}
    rows = _table(tmp_path / "out.csv")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    assert found["names"].tolist() == [f"p.{n}" for n in range(7)]
    for at, row in enumerate(rows):
        assert found["sample_id"][at] == row["sample_id"]
        assert found["rejected"][at] == row["rejected"]
        assert found["label"][at] == row["label"]
    assert np.isnan(found["numbers"][1]).all()
    for at in (0, 2):
        numbers = [float(rows[at][f"p.{n}"]) for n in range(7)]
        assert found["numbers"][at].tolist() == pytest.approx(numbers, rel=1e-4)
        assert found["confidence"][at] == pytest.approx(max(numbers), rel=1e-4)


def test_a_file_larger_than_the_memory_that_is_used_goes_through(
    tmp_path: Path,
) -> None:
    """200 MB of recordings cost a few; what is written grows, what is held does not."""
    rows = 8_000_000
    big = tmp_path / "big.npz"
    np.savez(big, a=np.zeros((rows, 6), np.float32))
    engine = Engine(MODEL.read_bytes())
    clock = SystemClock()
    meter = Meter(io.StringIO(), clock)
    warm = tmp_path / "warm.npz"
    np.savez(warm, a=np.zeros((200_000, 6), np.float32))
    infer_table(engine, warm, tmp_path / "warm-out.npz", meter, clock)
    before = rss_bytes()
    account = infer_table(engine, big, tmp_path / "out.npz", meter, clock)
    grown = rss_bytes() - before
    engine.close()
    assert account.answered == rows // 100
    assert grown < 24 << 20, f"grew by {grown >> 20} MiB"
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["numbers"].shape == (rows // 100, 7)


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (("--model", "no.tflite", "--output", "o.csv"), 1, "AGENT-MODEL-011"),
        (("--model", MODEL, "--output", "o.xls"), 2, "AGENT-BATCH-001"),
        (("--model", MODEL, "--output", "none/o.csv"), 1, "AGENT-BATCH-003"),
        (("--output", "o.csv"), 2, "need --model"),
        (
            ("--model", MODEL, "--labels", "none", "--output", "o.csv"),
            2,
            "AGENT-LABELS-002",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    given: Path, tmp_path: Path, words: tuple[str | Path, ...], code: int, what: str
) -> None:
    """A code, a cure, an exit code that scripts can rely on, and no half table."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "infer", "--input", given, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv"}


def test_a_bad_input_is_named_by_its_line(tmp_path: Path) -> None:
    """Exit code 2, and the table that was begun is gone."""
    bad = tmp_path / "bad.csv"
    bad.write_text("1,2,3,4,5,6\n" * 250 + "oh,no\n")
    done = ask("--model", MODEL, "--input", bad, "--output", tmp_path / "o.csv")
    assert done.returncode == 2
    assert "line 251" in done.stderr
    assert not list(tmp_path.glob("o.csv*"))


def test_a_file_of_which_nothing_passes_is_refused(tmp_path: Path) -> None:
    """Exit code 7: the checks let no sample through; the table says why."""
    bad = tmp_path / "bad.csv"
    bad.write_text("1,2\n" * 300)
    done = ask("--model", MODEL, "--input", bad, "--output", tmp_path / "o.csv")
    assert done.returncode == 7
    assert "rejected (shape)" in done.stdout


def test_a_model_without_classes_has_a_column_a_number(tmp_path: Path) -> None:
    """Regressions are tables too; every line of the file is one vector."""
    (tmp_path / "in.csv").write_text("1,2\n3,4.5\n")
    model, out = DATA / "kinds" / "two.tflite", tmp_path / "o.csv"
    done = ask("--model", model, "--input", tmp_path / "in.csv", "--output", out)
    assert done.returncode == 0, done.stderr
    rows = _table(out)
    assert [(row["doubled.0"], row["doubled.1"]) for row in rows] == [
        ("2", "4"),
        ("6", "9"),
    ]


def test_without_output_the_answers_are_printed(given: Path, names: Path) -> None:
    """One line a sample, for a look."""
    done = ask("--model", MODEL, "--labels", names, "--input", given)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("in@0: move ")
    assert lines[1] == "in@100: rejected, not_finite"


def test_parquet_without_its_library_says_what_to_install(
    given: Path, tmp_path: Path
) -> None:
    """The extra is named; exit code 2."""
    words = ["infer", "--model", MODEL, "--input", given, "--output"]
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from edge_agent.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words), str(tmp_path / "o.parquet")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "shoal[parquet]" in done.stderr


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Hands:
    """A clock that is set by hand."""

    now = 0.0

    def wall(self) -> float:
        """Return the time."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now


def test_a_terminal_sees_a_bar_and_a_log_does_not() -> None:
    """Share, samples, rate, and the time that is left; at the end the line goes."""
    clock, terminal, log = Hands(), Terminal(), io.StringIO()
    for stream in (terminal, log):
        clock.now = 0.0
        meter = Meter(stream, clock)
        clock.now = 10.0
        meter.read(250, 1000)
        meter.made(5000)
        meter.made(5001)
        meter.finish()
    assert log.getvalue() == ""
    shown = terminal.getvalue()
    assert "[######..................]  25% 5,000 samples, 500/s, 0:30 left" in shown
    assert "5,001" not in shown
    assert shown.endswith("\r")
