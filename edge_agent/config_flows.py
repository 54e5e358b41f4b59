"""Configuration of sources (where samples come from) and sinks (where answers go).

Every kind is a struct of its own, told apart by ``kind``, so that a key that a kind
does not know is an error. Secrets are paths of files, never values.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from edge_agent.base.address import require_host
from edge_agent.base.loopback import is_loopback
from edge_agent.wire.types import Name, Ratio, Short, Strict

Positive = Annotated[float, Meta(gt=0)]
Rows = Annotated[int, Meta(ge=0, le=1 << 22)]
Port = Annotated[int, Meta(ge=1, le=65535)]
FilePath = Annotated[str, Meta(min_length=1, max_length=4096)]
Topic = Annotated[str, Meta(min_length=1, max_length=512)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Argument = Annotated[str, Meta(max_length=4096)]
Times = Annotated[int, Meta(ge=1, le=1_000_000)]


class LocalBroker(Strict, frozen=True, kw_only=True):
    """An MQTT broker near the device: plaintext, so on loopback unless allowed.

    ``password_file`` holds the password, alone.
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    username: Short = ""
    password_file: str = ""
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        """Refuse to send samples or predictions over a network in plaintext."""
        require_host(self.host, "broker")
        if not self.allow_plaintext and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} is not this machine and the link is not encrypted; set"
                " allow_plaintext = true for a network that you trust"
            )


class _Source(Strict, frozen=True, kw_only=True, tag_field="kind"):
    """What every source has; rows 0: as the release's input contract says."""

    name: Name | None = None
    length: Rows = 0
    hop: Rows = 0


class NoSource(_Source, frozen=True, kw_only=True, tag="none"):
    """Samples come over the local API only."""


class ReplaySource(_Source, frozen=True, kw_only=True, tag="replay"):
    """Plays the recordings of an npz file (one array ``(rows, axes)`` a recording).

    They are played over and over, as the sensor; when the file is replaced it goes on
    with the new one. ``rate`` is samples per second. With the ``order`` "turns"
    recordings take turns window by window; with "sessions" each is played whole, one
    after the other, in an order that is drawn anew for each cycle from ``seed``.
    """

    path: FilePath
    rate: Positive = 10.0
    order: Literal["turns", "sessions"] = "turns"
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0


class CsvSource(_Source, frozen=True, kw_only=True, tag="csv"):
    """Plays a CSV file as the sensor, ``rate`` rows a second (0: the contract's).

    With ``repeat`` it starts again at its end, else at the agent's next start.
    """

    path: FilePath
    rate: Annotated[float, Meta(ge=0)] = 0.0
    repeat: bool = True


class FolderSource(_Source, frozen=True, kw_only=True, tag="folder"):
    """Infers every complete file (CSV, npz, images) of a folder once.

    A file is complete when nothing about it changed for ``settle_s``. Afterwards it
    is moved to ``done`` below the folder, marked by ``.done`` behind its name, or
    deleted; one that cannot be used goes to ``failed`` (or gets ``.failed``).
    """

    path: FilePath
    settle_s: Positive = 2.0
    after: Literal["move", "mark", "delete"] = "move"


class MqttSource(_Source, frozen=True, kw_only=True, tag="mqtt"):
    """Takes rows from a topic of a local broker; each topic is a stream of its own."""

    topic: Topic
    payload: Literal["json", "float32"] = "json"
    broker: LocalBroker = LocalBroker()
    queue: Annotated[int, Meta(ge=1, le=100_000)] = 256


class CameraSource(_Source, frozen=True, kw_only=True, tag="camera"):
    """Takes frames of a camera: its number, a device, a video file, or an address."""

    device: Annotated[str, Meta(min_length=1, max_length=2048)] = "0"
    rate: Positive = 5.0


AnySource = ReplaySource | CsvSource | FolderSource | MqttSource | CameraSource


class Rule(Strict, frozen=True, kw_only=True):
    """When something is to happen: a class, seen so surely, so many times in a row.

    ``labels`` empty: any class. ``windows`` predictions of one source in a row must
    match; then nothing happens again for ``cooldown_s``.
    """

    labels: Annotated[list[Short], Meta(max_length=256)] = []
    confidence: Ratio = 0.5
    windows: Times = 1
    cooldown_s: Annotated[float, Meta(ge=0, le=1e9)] = 60.0


class _Sink(Strict, frozen=True, kw_only=True, tag_field="kind"):
    """What every sink has; ``queue`` predictions wait at most, the oldest go first."""

    name: Name | None = None
    queue: Annotated[int, Meta(ge=1, le=100_000)] = 256


class MqttSink(_Sink, frozen=True, kw_only=True, tag="mqtt"):
    """Publishes predictions as JSON; with a ``rule``, only those that fulfil it."""

    topic: Annotated[str, Meta(pattern=r"^[^+#]{1,512}\Z")]
    broker: LocalBroker = LocalBroker()
    rule: Rule | None = None


class WebhookSink(_Sink, frozen=True, kw_only=True, tag="webhook"):
    """Posts a prediction as JSON when the rule is fulfilled.

    ``token_file`` holds a bearer token. ``ca``: authority of the server's certificate.
    """

    url: Url
    rule: Rule
    token_file: str = ""
    ca: str = ""
    timeout_s: Positive = 5.0
    attempts: Annotated[int, Meta(ge=1, le=100)] = 4
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        """Refuse an address that is none, or plaintext over a network."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError(f"{self.url!r} is no http or https address")
        if parts.scheme == "http" and not (self.allow_plaintext or is_loopback(host)):
            raise ValueError(
                f"{host} is not this machine: use https, or set allow_plaintext = true"
                " for a network that you trust"
            )


class CommandSink(_Sink, frozen=True, kw_only=True, tag="command"):
    """Runs a program when the rule is fulfilled; the prediction is its standard input.

    ``argv`` is the program and its arguments: there is no shell, one runs at a time.
    """

    argv: Annotated[list[Argument], Meta(min_length=1, max_length=64)]
    rule: Rule
    timeout_s: Positive = 10.0


AnySink = MqttSink | WebhookSink | CommandSink


def kind_of(config: _Source | _Sink) -> str:
    """Return the ``kind`` that the configuration file gives."""
    return str(config.__struct_config__.tag)


def name_of(config: _Source | _Sink) -> str:
    """Return the name that status and samples bear: its own, or else its kind."""
    return config.name or kind_of(config)


def check_names(configs: list[AnySource] | list[AnySink], section: str) -> None:
    """Refuse two of one name: nobody could tell their figures apart.

    Raises:
        ValueError: There are two.
    """
    seen: set[str] = set()
    for config in configs:
        if (name := name_of(config)) in seen:
            raise ValueError(f"two [[{section}]] are called {name!r}; give them a name")
        seen.add(name)
