"""``hub ingest quarantine``: messages that could not be read."""

from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.wire.batch import BatchHeader
from hub.cli.output import age_text, json_option, print_fields, print_json, print_table
from hub.config import Home

if TYPE_CHECKING:
    from hub.ingest.quarantine import Content
    from hub.storage.poison import PoisonRow


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message as ``list --json`` shows it; ``size`` is what was kept, in bytes."""

    id: int
    received_at: float
    topic: str
    reason: str
    size: int


class ContentView(MessageView, frozen=True, kw_only=True):
    """A message as ``show --json`` shows it: batch header, else text, else hex."""

    header: BatchHeader | None
    kinds: dict[str, int]
    text: str
    hex: str


@click.group()
def ingest() -> None:
    """Look after what came from devices."""


@ingest.group()
def quarantine() -> None:
    """Look at messages that could not be read, and try them again."""


@quarantine.command("list")
@json_option
@click.pass_obj
def list_command(home: Home, *, as_json: bool) -> None:
    """List messages that are set aside, oldest first."""
    from hub.ingest.quarantine import list_quarantine
    from hub.service import open_services

    services = open_services(home)
    rows = list_quarantine(services.engine)
    if as_json:
        print_json([_view(row) for row in rows])
        return
    now = services.clock.wall()
    print_table(
        ("message", "came", "topic", "bytes", "reason"),
        [
            (
                row.id,
                f"{age_text(now - row.received_at)} ago",
                _plain(row.topic),
                row.size,
                _plain(row.reason),
            )
            for row in rows
        ],
    )


@quarantine.command("show")
@click.argument("message", type=int)
@json_option
@click.pass_obj
def show_command(home: Home, message: int, *, as_json: bool) -> None:
    """Show why a message could not be read, and as much of it as can be."""
    from hub.ingest.quarantine import show_quarantined
    from hub.service import open_services

    services = open_services(home)
    row, content = show_quarantined(services.engine, message)
    if as_json:
        print_json(_content_view(row, content))
        return
    age = age_text(services.clock.wall() - row.received_at)
    print_fields(
        [
            ("message", row.id),
            ("came", f"{age} ago"),
            ("topic", _plain(row.topic)),
            ("bytes", row.size),
            ("reason", _plain(row.reason)),
            *_content_fields(content),
        ]
    )


@quarantine.command("replay")
@click.argument("messages", type=int, nargs=-1)
@click.option("--all", "take_all", is_flag=True, help="Try all messages again.")
@json_option
@click.pass_obj
def replay_command(
    home: Home, messages: tuple[int, ...], *, take_all: bool, as_json: bool
) -> None:
    """Try messages again: what is good now is committed and leaves the quarantine.

    Exits with 7 if one of them is still no good.
    """
    if take_all == bool(messages):
        raise click.UsageError("name messages, or say --all")
    from hub.errors import RefusedError
    from hub.ingest.quarantine import replay
    from hub.service import open_services

    results = replay(open_services(home).engine, None if take_all else messages)
    if as_json:
        print_json(results)
    else:
        print_table(
            ("message", "topic", "result"),
            [
                (
                    one.id,
                    _plain(one.topic),
                    f"committed, {one.rows} new"
                    if one.committed
                    else _plain(one.reason),
                )
                for one in results
            ],
        )
    refused = sum(not one.committed for one in results)
    if refused:
        raise RefusedError(
            "HUB-INGEST-002",
            f"{refused} of {len(results)} messages cannot be read",
            cure="hub ingest quarantine show ID; they stay in the quarantine",
        )


def _view(row: "PoisonRow") -> MessageView:
    return MessageView(
        id=row.id,
        received_at=row.received_at,
        topic=row.topic,
        reason=row.reason,
        size=row.size,
    )


def _content_view(row: "PoisonRow", content: "Content") -> ContentView:
    return ContentView(
        id=row.id,
        received_at=row.received_at,
        topic=row.topic,
        reason=row.reason,
        size=row.size,
        header=content.header,
        kinds=content.kinds,
        text=content.text,
        hex=content.hex,
    )


def _content_fields(content: "Content") -> list[tuple[str, object]]:
    if content.header is None:
        name = "text" if content.text else "hex"
        return [(name, _plain(content.text) or content.hex)]
    header = content.header
    kinds = ", ".join(
        f"{_plain(kind)} {count}" for kind, count in content.kinds.items()
    )
    return [
        ("stream", f"boot {header.boot}, lane {header.lane}"),
        ("rows", f"{header.lo}..{header.hi} above base {header.base}"),
        ("evicted", header.evicted),
        ("protocol", header.v),
        ("records", kinds or "-"),
    ]


def _plain(text: str) -> str:
    """Replace what a terminal would obey: a stranger may have written this."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )
