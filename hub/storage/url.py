"""The setting ``database``: which databases the hub works with.

What SQLAlchemy would answer to an odd value with a traceback, or not at all (a relative
path is another database in each folder that a command is run from), is an error with a
cure here. Called by :mod:`hub.config` and :mod:`hub.storage.db`.
"""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from edge_agent.base.settings import SettingsError

IN_MEMORY = ":memory:"
_FORMS = (
    "leave it empty for hub.db in the hub's home, or write"
    " sqlite:////absolute/path/hub.db or postgresql+psycopg2://USER@HOST/NAME"
)
_KNOWN = {"sqlite": {"pysqlite"}, "postgresql": {"psycopg2", "psycopg", "pg8000"}}


def read_url(value: str) -> URL:
    """Return the URL that the setting ``database`` holds.

    Raises:
        SettingsError: It is no URL of a database that the hub works with
            (``HUB-STORE-003``), or names no file that could be one
            (``HUB-STORE-004``).
    """
    url = _parse(value)
    kind, _, driver = url.drivername.partition("+")
    if kind == "postgres":
        raise _odd(value, f"write postgresql:// for {kind}://")
    if kind not in _KNOWN:
        raise _odd(value, _FORMS)
    if kind == "sqlite":
        _check_file(url, value)
    if driver and driver not in _KNOWN[kind]:
        drivers = " or ".join(sorted(_KNOWN[kind]))
        cure = f"name a driver that the hub works with ({drivers}); {_FORMS}"
        raise _odd(value, cure)
    return url


def load_driver(url: URL) -> None:
    """Make sure that the driver of a database is installed.

    Raises:
        SettingsError: It is not (``HUB-STORE-005``).
    """
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError) as error:
        driver = getattr(error, "name", None) or url.get_driver_name()
        package = {"psycopg2": "psycopg2-binary"}.get(driver, driver)
        raise SettingsError(
            "HUB-STORE-005",
            f"database {url!r}: its driver {driver} is not installed",
            cure=f"pip install {package}, in the hub's own environment",
        ) from error


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, ``None`` for any other."""
    if url.get_backend_name() != "sqlite" or url.database in {None, "", IN_MEMORY}:
        return None
    return Path(str(url.database))


def _parse(value: str) -> URL:
    if not value.isprintable() or not value.strip():
        raise _odd(value, _FORMS)
    try:
        return make_url(value)
    except (ArgumentError, ValueError) as error:
        is_path = value.startswith("/")
        cure = f"for a file write sqlite:///{value}" if is_path else _FORMS
        raise _odd(value, cure) from error


def _check_file(url: URL, value: str) -> None:
    if url.query:
        options = value[value.find("?") :]
        raise _odd(value, f"leave {options} away: the hub sets what it needs")
    if url.host or not url.database or not url.database.startswith("/"):
        raise SettingsError(
            "HUB-STORE-004",
            f"database = {value!r} names no file by its whole path",
            cure=_FORMS,
        )
    path = Path(url.database)
    if path.exists() and not path.is_file():
        raise SettingsError(
            "HUB-STORE-004",
            f"database = {value!r}: {path} is not a file",
            cure=f"name a file, not a folder or a device: sqlite:///{path / 'hub.db'}",
        )


def _odd(value: str, cure: str) -> SettingsError:
    return SettingsError(
        "HUB-STORE-003",
        f"database = {_shown(value)!r} is no database that the hub works with",
        cure=cure,
    )


def _shown(value: str) -> str:
    """Return the setting without the password in it."""
    head, at, tail = value.rpartition("@")
    start = head.find("://") + len("://")
    user, colon, _ = head[start:].partition(":")
    return f"{head[:start]}{user}:***@{tail}" if at and colon else value
