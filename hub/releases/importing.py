"""A model made elsewhere: a trainer's process makes a bundle of it.

The hub never imports the trainer: it starts one, and takes in the folder that it
writes like any other bundle. The folder is temporary; a crash leaves nothing that
anybody looks at, and no trainer that works on (:mod:`edge_agent.base.children`).
Called by ``hub releases import``.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_agent.base.children import run_child
from edge_agent.base.exit_codes import ExitCode
from hub.errors import RefusedError

COMMAND = (sys.executable, "-m", "trainer", "import")
TIMEOUT_S = 900.0
_SAYS = "trainer: "
"""How the trainer begins the line with its error."""


@contextmanager
def imported_bundle(model: Path, options: Sequence[str]) -> Iterator[Path]:
    """Have a bundle made of a model; it is gone when the context ends.

    Args:
        model: The file or folder.
        options: Further arguments of ``trainer import``.

    Raises:
        RefusedError: No bundle could be made (``HUB-RELEASE-013``).
    """
    with tempfile.TemporaryDirectory(prefix="shoal-import-") as folder:
        out = Path(folder) / "bundle"
        _run([*COMMAND, "--out", str(out), *options, "--", str(model)], model)
        yield out


def _run(command: Sequence[str], model: Path) -> None:
    try:
        done = run_child(command, TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise _refuse(model, f"it took longer than {TIMEOUT_S:.0f} s") from error
    # A bundle that the gate refused is written all the same; the hub decides.
    if done.returncode in (ExitCode.OK, ExitCode.REFUSED):
        return
    lines = done.stderr.strip().splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith(_SAYS)]
    if places:
        text, *cure = lines[places[-1] :]
        said = text.removeprefix(_SAYS)
        raise _refuse(model, said, " ".join(line.strip() for line in cure))
    last = lines[-1] if lines else ""
    raise _refuse(model, f"its process ended with {done.returncode}: {last}")


def _refuse(model: Path, why: str, cure: str = "") -> RefusedError:
    return RefusedError("HUB-RELEASE-013", f"no bundle of {model}: {why}", cure=cure)
