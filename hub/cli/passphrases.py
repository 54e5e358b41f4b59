"""Options of commands that sign with offline keys, or make keys.

Passphrases come from a terminal or from files, never from arguments.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hub.config import Home
from hub.errors import DeniedError

if TYPE_CHECKING:
    from hub.releases.ceremony import Ceremony, NewKeys

MIN_CHARACTERS = 12
"""The file format's key derivation is fast, so the passphrase itself must be long."""
_TRIES = 3

_Command = Callable[..., Any]

_BROUGHT = (
    click.option(
        "--offline-keys",
        "folders",
        multiple=True,
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="A folder with keys of root and targets; may be given several times, new"
        " keys go to the first. Default: offline-keys in the hub's home.",
    ),
    click.option(
        "--passphrase-file",
        "files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A file whose first line opens protected keys; may be given several"
        " times, new keys get the first. Default: asked for at the terminal.",
    ),
)
_SEALS = (
    click.option(
        "--passphrase-file",
        "files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A file whose first line is the passphrase of the backup's keys; to open"
        " them, several may be given. Default: asked for at the terminal.",
    ),
)
_NEW = (
    click.option(
        "--no-passphrase",
        "bare",
        is_flag=True,
        help="Leave new keys of root and targets unprotected: for trying out.",
    ),
    click.option(
        "--protect-models",
        "protect_models",
        is_flag=True,
        help="Keep the release key like an offline key: the hub then publishes nothing"
        " by itself.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a person brought along for a signature, and how new keys are to be kept."""

    folders: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    bare: bool = False
    protect_models: bool = False

    def ceremony(self, home: Home) -> "Ceremony":
        """Return what works on the keys of a home folder."""
        from hub.clock_trust import HubClock
        from hub.home import read_home
        from hub.releases.ceremony import Ceremony

        if not home.tuf.exists():
            read_home(home)  # says that there is no hub
        return Ceremony(
            home,
            HubClock(home.path),
            offline=self.folders,
            passphrases=self.opening(),
        )

    def new_keys(self, *, is_protected: bool = True) -> "NewKeys":
        """Return how new keys are to be kept; the passphrase is asked for here.

        Raises:
            DeniedError: There is none, or it is too short (``HUB-KEYS-007``).
        """
        from hub.releases.ceremony import NewKeys

        return NewKeys(
            folder=self.folders[0] if self.folders else None,
            passphrase=None
            if self.bare or not is_protected
            else self.new_passphrase(
                "the new offline keys",
                instead="--passphrase-file FILE, or --no-passphrase for trying out",
            ),
            protect_models=self.protect_models,
        )

    @property
    def can_open(self) -> bool:
        """Whether there are passphrases, or somebody to ask for them."""
        return bool(self.files) or sys.stdin.isatty()

    def opening(self) -> Callable[[Path], Iterable[bytes]]:
        """Return what yields the passphrases to be tried for a file."""
        known = [_read(file) for file in self.files]

        def candidates(path: Path) -> Iterator[bytes]:
            yield from list(known)
            if self.files or not sys.stdin.isatty():
                return
            for _ in range(_TRIES):
                text = f"Passphrase of {path.name}"
                typed = click.prompt(text, hide_input=True, err=True).encode()
                known.insert(0, typed)
                yield typed
                click.echo("it does not open the key", err=True)

        return candidates

    def new_passphrase(self, of: str, *, instead: str) -> bytes:
        """Return a new passphrase: asked for twice at a terminal, else from a file.

        Args:
            of: What it is to protect.
            instead: What to do where nobody can be asked.

        Raises:
            DeniedError: There is none, or it is too short (``HUB-KEYS-007``).
        """
        if self.files:
            found = _read(self.files[0])
        elif sys.stdin.isatty():
            found = click.prompt(
                f"Passphrase for {of}",
                hide_input=True,
                confirmation_prompt=True,
                err=True,
            ).encode()
        else:
            raise DeniedError(
                "HUB-KEYS-007",
                f"there has to be a passphrase for {of}, and there is no terminal to"
                " ask at",
                cure=instead,
            )
        if len(found) < MIN_CHARACTERS:
            raise DeniedError(
                "HUB-KEYS-007",
                f"the passphrase has less than {MIN_CHARACTERS} characters",
                cure="six random words make a good one",
            )
        return bytes(found)


def brings_keys(command: _Command) -> _Command:
    """Give a command the options of one that signs, as its parameter ``brought``."""
    return _gather(command, _BROUGHT)


def seals(command: _Command) -> _Command:
    """Give a command the option for the passphrase of a backup, as ``brought``."""
    return _gather(command, _SEALS)


def makes_keys(command: _Command) -> _Command:
    """Give a command the options of one that makes keys, as ``brought``."""
    return _gather(command, _BROUGHT + _NEW)


def _gather(command: _Command, options: tuple[_Command, ...]) -> _Command:
    @functools.wraps(command)
    def gathered(*args: Any, **given: Any) -> Any:  # noqa: ANN401 - click's
        names = Brought.__slots__ & given.keys()
        brought = Brought(**{name: given.pop(name) for name in names})
        return command(*args, brought=brought, **given)

    for option in reversed(options):
        gathered = option(gathered)
    return gathered


def _read(file: Path) -> bytes:
    return file.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
