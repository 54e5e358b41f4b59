"""How the three programs begin and end: files for their owner only, quiet at Ctrl-C.

What no command expected ends it too: one line with a code, the traceback in a file.
What is printed goes through :mod:`edge_agent.base.terminal`.

Nothing heavy is imported here, so that an interrupt is quiet from the first imports on.
Called by ``__main__`` and by the ``main`` of each command line.
"""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edge_agent.base.children import end_with_parent
from edge_agent.base.exit_codes import ExitCode, ShoalError
from edge_agent.base.terminal import escaped_output, one_line

if TYPE_CHECKING:
    import click

DEBUG_VARIABLE = "SHOAL_DEBUG"
"""Environment variable; where it is set, an unexpected error prints its traceback."""
_PRIVATE = 0o600
_LONGEST = 500


OWNER_ONLY = 0o077
"""Of a new file or folder the bits that nobody gets, unless its writer says so."""


def begin_program() -> None:
    """Make files for their owner only, and let Ctrl-C end the process by itself.

    Both hold for the processes that it starts, too. Ctrl-C ends it by the signal until
    a command runs; a parent that had it ignored keeps it so, and one that asked for it
    is outlived by nothing.
    """
    os.umask(OWNER_ONLY)
    end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_command_line(
    command: "click.Command", name: str | None = None, *, mark: str = ""
) -> NoReturn:
    """Run a command line and exit as documented.

    Args:
        command: The program's group of commands.
        name: What it is called in usage texts; by default as it was started.
        mark: What errors begin with, for programs that look for them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with escaped_output():
        code = _run(command, name, mark)
    sys.exit(code)


def _run(command: "click.Command", name: str | None, mark: str) -> int:
    """Run a command line; return what to exit with."""
    import click

    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except ShoalError as error:
        click.echo(f"{mark}{error}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last net: no command expected it
        program = name or command.name or "shoal"
        click.echo(f"{mark}{_explain(program, error)}", err=True)
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.OK


def _explain(program: str, error: Exception) -> ShoalError:
    """Return an unexpected error as one that tells where its traceback is."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    trace = "".join(traceback.format_exception(error))
    if os.environ.get(DEBUG_VARIABLE):
        cure = trace.rstrip()
    elif path := _keep(program, trace):
        cure = f"the traceback is in {path}; {DEBUG_VARIABLE}=1 prints it instead"
    else:
        cure = f"{DEBUG_VARIABLE}=1 prints the traceback"
    text = f"unexpected {type(error).__name__}: {one_line(error)[:_LONGEST]}{where}"
    return ShoalError("SHOAL-PROGRAM-001", text, cure=cure)


def _keep(program: str, trace: str) -> Path | None:
    """Write a traceback to the user's state folder, over the program's last one."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
        path = Path(home) / "shoal" / f"{program}-traceback.txt"
        part = path.with_suffix(f".{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(_PRIVATE)
        part.write_text(trace, "utf-8", "backslashreplace")
        part.replace(path)
    except (OSError, RuntimeError):  # no room, or no home
        return None
    return path
