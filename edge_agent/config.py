"""The device's configuration: one TOML file, every limit with its unit."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from edge_agent.base.address import require_host
from edge_agent.base.loopback import is_loopback
from edge_agent.base.mqtt_version import VersionSetting
from edge_agent.base.settings import read_settings
from edge_agent.config_flows import AnySink, AnySource, NoSource, check_names
from edge_agent.wire.topics import Lane
from edge_agent.wire.types import DeviceId, Labels, Name, Strict

MIN_WORKER_BYTES = 160 << 20
CA_FILE, CERT_FILE = "ca.pem", "device.pem"
MAX_PORT = 65_535

Bytes = Annotated[int, Meta(ge=4096)]
Positive = Annotated[float, Meta(gt=0)]
Address = Annotated[str, Meta(pattern=r"^(|[^\s]+:[0-9]{1,5})\Z")]
_HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
Window = Annotated[str, Meta(pattern=rf"^{_HOUR}-({_HOUR}|24:00)\Z")]


class DeviceConfig(Strict, frozen=True, kw_only=True):
    """Who the device is. ``labels`` are shown by the hub and name its cohort."""

    id: DeviceId
    state_dir: str = "state"
    hardware: str = ""
    labels: Labels = {}


class TlsConfig(Strict, frozen=True, kw_only=True):
    """TLS to the broker. Empty: what ``edge-agent enroll`` writes to the state folder.

    There ``cert`` holds the key too, so that both change at once. ``key`` is for a pair
    that is managed elsewhere; the agent then never renews it.
    """

    enabled: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""


class BrokerConfig(Strict, frozen=True, kw_only=True):
    """The MQTT broker. Plaintext is for loopback only, unless ``allow_plaintext``.

    With ``tls.enabled`` it may be anywhere. ``protocol`` is the MQTT version: ``auto``
    is 5 where the broker knows it, else 3.1.1.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    protocol: VersionSetting = "auto"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    allow_plaintext: bool = False
    tls: TlsConfig = TlsConfig()

    def __post_init__(self) -> None:
        """Refuse a host that holds more than the host."""
        require_host(self.host, "broker")


class TrustConfig(Strict, frozen=True, kw_only=True):
    """The TUF root that the device trusts at first: the hub's ``root.json``.

    Empty, as ``edge-agent run --model`` has it: there is no hub, and nothing is kept
    for one.
    """

    root: str


class OutboxConfig(Strict, frozen=True, kw_only=True):
    """Commit and send sizes, and the space each lane may take on disk."""

    batch_records: Annotated[int, Meta(ge=1, le=256)] = 64
    batch_s: Positive = 1.0
    resend_after_s: Positive = 10.0
    alert_bytes: Bytes = 1 << 20
    state_bytes: Bytes = 1 << 20
    metric_bytes: Bytes = 16 << 20
    sample_bytes: Bytes = 16 << 20

    def budget(self, lane: Lane) -> int:
        """Return the byte budget of a lane."""
        return {
            Lane.ALERT: self.alert_bytes,
            Lane.STATE: self.state_bytes,
            Lane.METRIC: self.metric_bytes,
            Lane.SAMPLE: self.sample_bytes,
        }[lane]


class RelayConfig(Strict, frozen=True, kw_only=True):
    """How fast, and at which hours, the outbox is sent.

    ``bulk_windows`` are the hours of the day, ``HH:MM-HH:MM`` on the ``clock`` named,
    in which every lane is sent; outside them only ``always_lanes`` are, and the others
    wait in the outbox. Without windows every hour is one. 0 bytes per second: no cap.
    """

    max_bytes_per_s: Annotated[int, Meta(ge=0)] = 0
    bulk_windows: Annotated[list[Window], Meta(max_length=24)] = []
    clock: Literal["local", "utc"] = "local"
    always_lanes: list[Lane] = field(default_factory=lambda: [Lane.ALERT, Lane.STATE])

    def __post_init__(self) -> None:
        """Refuse a window that ends where it starts: nobody knows what it means."""
        for window in self.bulk_windows:
            start, end = window.split("-")
            if start == end:
                raise ValueError(
                    f"relay.bulk_windows: {window} is empty; write 00:00-24:00 for the"
                    " whole day"
                )


class ProfileConfig(Strict, frozen=True, kw_only=True):
    """When a profile window closes: by rows or by age, whichever is first."""

    window_rows: Annotated[int, Meta(ge=16, le=1_000_000)] = 140
    window_s: Positive = 300.0


class ConsentConfig(Strict, frozen=True, kw_only=True):
    """Leave to send raw samples: named, expiring, bounded. Absent: never."""

    name: Name
    expires_at: datetime
    max_samples: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000


class ApiConfig(Strict, frozen=True, kw_only=True):
    """The Open Inference Protocol, beside the framed socket.

    ``unix``: HTTP on ``http.sock`` in the state folder, for the agent's own user.
    ``http`` and ``grpc``: on ports such as ``127.0.0.1:8080`` (empty: none), where
    ``token_file`` holds what every request must carry (empty: nothing). Another
    machine's address needs that and ``allow_remote``: what is sent is not encrypted.
    """

    unix: bool = True
    http: Address = ""
    grpc: Address = ""
    token_file: str = ""
    allow_remote: bool = False
    max_body_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 16 << 20

    def __post_init__(self) -> None:
        """Refuse what would serve other machines by mistake."""
        for name, address in (("http", self.http), ("grpc", self.grpc)):
            if not address:
                continue
            host, port = split_address(address)
            if port > MAX_PORT:
                raise ValueError(f"api.{name}: there is no port {port}")
            if not is_loopback(host) and not (self.token_file and self.allow_remote):
                raise ValueError(
                    f"api.{name}: {host} is not this machine alone; that needs"
                    " api.token_file and api.allow_remote = true"
                )


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[IPv6]:PORT``."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class FactoryConfig(Strict, frozen=True, kw_only=True):
    """The model that came with the device: a bundle folder. Empty: there is none."""

    bundle: str = ""


class HealthConfig(Strict, frozen=True, kw_only=True):
    """How often the device reports its health."""

    period_s: Positive = 30.0


class WorkerConfig(Strict, frozen=True, kw_only=True):
    """Bounds of the inference process.

    ``memory_bytes`` is what it may map to write to (models, buffers, stacks; 0: no
    limit): beyond it a request fails, or the worker does, and nothing else.
    ``watchdog_s`` is the time between two inferences that the supervisor asks for.
    ``backend`` is what runs models, in self-tests too: the interpreter, or LiteRT's
    compiled models, which reach GPUs and NPUs.
    """

    memory_bytes: Annotated[int, Meta(ge=0)] = 1 << 30
    watchdog_s: Positive = 5.0
    backend: Literal["interpreter", "compiled"] = "interpreter"

    def __post_init__(self) -> None:
        """Refuse a limit under which no worker can start."""
        if 0 < self.memory_bytes < MIN_WORKER_BYTES:
            raise ValueError(
                f"worker.memory_bytes: below {MIN_WORKER_BYTES} no worker can start"
            )


class SheddingConfig(Strict, frozen=True, kw_only=True):
    """From which temperature on, in degrees Celsius, the device leaves work out.

    Shadows first, then files, then most samples of the sources; below ``cool_c`` they
    come back in turn. A processor quota that is used up does the same.
    """

    hot_c: float = 80.0
    cool_c: float = 70.0

    def __post_init__(self) -> None:
        """Refuse limits between which nothing is."""
        if self.cool_c >= self.hot_c:
            raise ValueError("shedding.cool_c: must be below shedding.hot_c")


class EvidenceConfig(Strict, frozen=True, kw_only=True):
    """The ring of the device's own inputs, on which two releases are compared.

    ``memory``: in memory alone, gone with the agent. ``disk``: in ``evidence.ring`` of
    the state folder, for devices that start often. ``off``: none, and paired tests
    have nothing to say. It is never sent.
    """

    keep: Literal["memory", "disk", "off"] = "memory"
    max_bytes: Annotated[int, Meta(ge=64 << 10, le=64 << 20)] = 1 << 20


class AgentConfig(Strict, frozen=True, kw_only=True):
    """The whole of ``agent.toml``."""

    device: DeviceConfig
    trust: TrustConfig
    broker: BrokerConfig = BrokerConfig()
    outbox: OutboxConfig = OutboxConfig()
    relay: RelayConfig = RelayConfig()
    profile: ProfileConfig = ProfileConfig()
    consent: ConsentConfig | None = None
    source: NoSource | AnySource = NoSource()
    """One source; several are ``[[sources]]``."""
    sources: Annotated[list[AnySource], Meta(max_length=16)] = []
    sinks: Annotated[list[AnySink], Meta(max_length=16)] = []
    health: HealthConfig = HealthConfig()
    worker: WorkerConfig = WorkerConfig()
    shedding: SheddingConfig = SheddingConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    api: ApiConfig = ApiConfig()
    factory: FactoryConfig = FactoryConfig()
    fallback: str = ""
    """Label to answer when no model can (``served_by: rule``). Empty: an error."""

    def __post_init__(self) -> None:
        """Refuse two sources, or two sinks, of one name."""
        check_names(self.all_sources, "sources")
        check_names(self.sinks, "sinks")

    @property
    def all_sources(self) -> list[AnySource]:
        """The sources of ``[source]`` and ``[[sources]]`` together."""
        one = [] if isinstance(self.source, NoSource) else [self.source]
        return one + self.sources


def place_tls(config: AgentConfig, folder: Path) -> BrokerConfig:
    """Return the broker's settings with absolute paths of what TLS needs.

    Args:
        config: The device's configuration.
        folder: Folder of the configuration file.
    """
    state, tls = folder / config.device.state_dir, config.broker.tls
    placed = replace(
        tls,
        ca=str(folder / tls.ca if tls.ca else state / CA_FILE),
        cert=str(folder / tls.cert if tls.cert else state / CERT_FILE),
        key=str(folder / tls.key) if tls.key else "",
    )
    return replace(config.broker, tls=placed)


def read_agent_config(path: Path) -> AgentConfig:
    """Read ``agent.toml``; relative paths in it are relative to its folder.

    Raises:
        SettingsError: It is missing or not valid.
    """
    return read_settings(path, AgentConfig, prefix="SHOAL_AGENT")
