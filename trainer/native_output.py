"""Keeping native libraries off standard error.

TensorFlow and its runtime write to file descriptor 2 whatever one sets. While the
context is open that descriptor is a log file, and Python's ``sys.stderr`` is moved to
a copy of the old one, so errors and progress still reach people.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def native_output_to(path: Path) -> Iterator[None]:
    """Append what native code writes to descriptor 2 to the file ``path``."""
    sys.stderr.flush()
    python_stderr, kept = sys.stderr, os.dup(2)
    try:
        with (
            path.open("ab") as log,
            os.fdopen(os.dup(kept), "w", buffering=1) as moved,
        ):
            os.dup2(log.fileno(), 2)
            sys.stderr = moved
            try:
                yield
            finally:
                sys.stderr = python_stderr
                os.dup2(kept, 2)
    finally:
        os.close(kept)
