"""How the three programs begin and end: files for their owner only, quiet at Ctrl-C.

Nothing heavy is imported here, so that an interrupt is quiet from the first imports on.
Called by ``__main__`` and by the ``main`` of each command line.
"""

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from edge_agent.base.exit_codes import ExitCode, ShoalError

if TYPE_CHECKING:
    import click


OWNER_ONLY = 0o077
"""Of a new file or folder the bits that nobody gets, unless its writer says so."""


def begin_program() -> None:
    """Make files for their owner only, and let Ctrl-C end the process by itself.

    Both hold for the processes that it starts, too. Ctrl-C ends it by the signal until
    a command runs; a parent that had it ignored keeps it so.
    """
    os.umask(OWNER_ONLY)
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
    import click

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except ShoalError as error:
        click.echo(f"{mark}{error}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
