"""`edge-agent infer --output out.parquet`: the extra ``[parquet]``.

In a file of its own, because pyarrow needs numpy 2 and so has no place beside the
older runtime.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.fakes.worker_device import samples

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "data" / "tiny.tflite"


def test_a_parquet_table_holds_what_a_csv_does(tmp_path: Path) -> None:
    """Rows in order, what was rejected with nothing in place of numbers."""
    values = samples(3).reshape(300, 6)
    values[150, 2] = np.nan
    np.savetxt(tmp_path / "in.csv", values, delimiter=",")
    for kind in ("csv", "parquet"):
        subprocess.run(
            [
                *(sys.executable, "-m", "edge_agent", "infer", "--model", MODEL),
                *("--input", tmp_path / "in.csv"),
                *("--output", tmp_path / f"out.{kind}"),
            ],
            check=True,
            cwd=ROOT,
        )
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for found, row in zip(table, rows, strict=True):
        for name in ("sample_id", "rejected", "label"):
            assert (found[name] or "") == row[name]
    assert table[1]["p.0"] is None
    for at in (0, 2):
        numbers = [float(rows[at][f"p.{n}"]) for n in range(7)]
        said = [table[at][f"p.{n}"] for n in range(7)]
        assert said == pytest.approx(numbers, rel=1e-4)
        assert table[at]["confidence"] == pytest.approx(max(numbers), rel=1e-4)
