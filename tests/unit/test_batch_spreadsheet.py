"""No text in a CSV file is a formula; numbers stay numbers, and there is a way back."""

import csv
import io

import pytest

from edge_agent.batch.spreadsheet import csv_text
from edge_agent.batch.table import CsvTable, Row

FORMULAS = ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text: str) -> None:
    """One quote goes in front, and taking it away gives the text again."""
    assert csv_text(text) == "'" + text


@pytest.mark.parametrize("text", ["-1", "+3.5", "-1e-3", "walking", "1=1", ""])
def test_numbers_and_other_texts_stay(text: str) -> None:
    """Labels that are numbers can be calculated with."""
    assert csv_text(text) == text


def test_a_table_holds_no_formula_from_outside() -> None:
    """Sample ids, labels, reasons and the names of columns."""
    file = io.BytesIO()
    table = CsvTable(file, ["=name"])
    table.add([Row(sample_id="=id", rejected="@reason")])
    table.finish()
    cells = [
        cell
        for row in csv.reader(io.StringIO(file.getvalue().decode()))
        for cell in row
    ]
    table.close()
    assert {"'=name", "'=id", "'@reason"} <= set(cells)
