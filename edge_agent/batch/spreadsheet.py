"""Texts in CSV files, so that a spreadsheet calculates nothing from them.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a
return for a formula, which can start programs and send data away. Such a text gets
``'`` in front, as OWASP recommends; so does one that begins with ``'``, so that the
way back is exact: take one leading ``'`` away. Numbers stay numbers. npz and Parquet
files hold texts as they are: nothing calculates with them.
"""

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")


def csv_text(text: str) -> str:
    """Return a text as it may stand in a cell."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[0] in "+-"
