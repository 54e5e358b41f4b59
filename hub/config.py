"""The hub's configuration: ``hub.toml`` in the hub's home folder.

``hub init`` writes the home folder::

    hub.toml  hub.db  keys/  offline-keys/  tuf/  artifacts/  releases/  jobs/
    root.json  ca.pem
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edge_agent.base.address import require_host
from edge_agent.base.mqtt_version import VersionSetting
from edge_agent.base.settings import read_settings
from edge_agent.wire.types import Name, Ratio, Seconds, Strict

if TYPE_CHECKING:
    from sqlalchemy import URL

CONFIG_FILE = "hub.toml"
HOME_VARIABLE = "SHOAL_HUB_HOME"
"""Names the home folder; it is no setting."""
Port = Annotated[int, Meta(ge=0, le=65535)]


class TlsConfig(Strict, frozen=True, kw_only=True):
    """TLS to the broker, with a certificate of our own. Empty: the home's files."""

    enabled: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""


class BrokerConfig(Strict, frozen=True, kw_only=True):
    """The MQTT broker. Plaintext is for loopback only, unless ``allow_plaintext``.

    With ``tls.enabled`` it may be anywhere. ``batch_qos`` is the quality of service at
    which batches are subscribed to. 0 loses nothing either: a device keeps what the
    hub has not acknowledged, and sends again. It is for brokers that cannot wait for
    a PUBACK (iotcore delivers out of order, twice, and stalls). ``protocol`` is the
    MQTT version: ``auto`` is 5 where the broker knows it, else 3.1.1.
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    client_id: str = "shoal-hub"
    protocol: VersionSetting = "auto"
    batch_qos: Literal[0, 1] = 1
    allow_plaintext: bool = False
    tls: TlsConfig = TlsConfig()

    def __post_init__(self) -> None:
        """Refuse a host that holds more than the host."""
        require_host(self.host, "broker")


class ApiConfig(Strict, frozen=True, kw_only=True):
    """The HTTP server: artifacts and enrolment.

    ``public_url`` is what devices are told. ``tls`` serves HTTPS with a certificate of
    the hub's own authority: tokens travel here, so beyond loopback it is needed, unless
    ``allow_plaintext``, which is for a proxy on another machine that ends TLS (one on
    this machine reaches loopback).
    """

    host: str = "127.0.0.1"
    port: Port = 8770
    public_url: str = ""
    tls: bool = False
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        """Refuse a host that holds more than the host."""
        require_host(self.host, "api")


class IdentityConfig(Strict, frozen=True, kw_only=True):
    """Certificates of devices: for how many days one is valid."""

    certificate_days: Annotated[float, Meta(gt=0, le=3650)] = 90.0


class IngestConfig(Strict, frozen=True, kw_only=True):
    """Bounds of the ingest path.

    The last four are what one device may cost: compressed bytes and rows a second, the
    share of a second spent on decoding (:mod:`hub.ingest.budget`), and what is kept of
    what it sends on one day, 0: everything (:mod:`hub.storage.device_days`).
    """

    queue_batches: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    group_batches: Annotated[int, Meta(ge=1, le=1000)] = 64
    device_bytes_per_s: Annotated[int, Meta(ge=1024)] = 1 << 20
    device_rows_per_s: Annotated[int, Meta(ge=10)] = 5000
    device_decode_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    device_day_bytes: Annotated[int, Meta(ge=0)] = 128 << 20


class StorageConfig(Strict, frozen=True, kw_only=True):
    """For how many days records and labels are kept; 0: for ever.

    Drift is judged against each device's own first windows under a release: keep them
    for as long as a release stays on a device.
    """

    keep_days: Annotated[float, Meta(ge=0, le=36_500)] = 365.0


class MonitorConfig(Strict, frozen=True, kw_only=True):
    """Drift and performance: how much evidence, and when it becomes an alert.

    ``cohort_label`` is the device label that names its cohort. ``for_s`` and
    ``keep_firing_for_s`` have Prometheus' meaning. ``metadata_lag_s``: for how long a
    device that is online may trust older metadata than the hub's. ``heard_s``: a device
    that was not heard for longer counts in no share of its cohort.
    """

    cohort_label: str = "cohort"
    baseline_rows: Annotated[int, Meta(ge=50)] = 560
    recent_rows: Annotated[int, Meta(ge=50)] = 280
    min_devices: Annotated[int, Meta(ge=1)] = 2
    min_share: Ratio = 0.25
    heard_s: Seconds = 86_400.0
    for_s: Seconds = 2.0
    keep_firing_for_s: Seconds = 60.0
    min_labels: Annotated[int, Meta(ge=20)] = 100
    accuracy_drop: Ratio = 0.10
    metadata_lag_s: Seconds = 3600.0


class RetrainConfig(Strict, frozen=True, kw_only=True):
    """When drift and loss start a retrain job, and what happens to its bundle.

    ``seed`` is what the trainer seeds its draws with.
    """

    enabled: bool = True
    task: Name = "watch"
    min_samples: Annotated[int, Meta(ge=1)] = 400
    max_samples_per_device: Annotated[int, Meta(ge=1, le=10_000)] = 200
    cooldown_s: Seconds = 3600.0
    timeout_s: Seconds = 3600.0
    auto_rollout: bool = True
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 7
    settings: dict[str, str] = {}


class RolloutConfig(Strict, frozen=True, kw_only=True):
    """The default plan: cumulative share of the fleet per stage, and the gates.

    A stage below 1 that would hold less than ``canary_min`` devices holds that many.
    Before it activates a release a device runs it in shadow on ``shadow_ratio`` of its
    requests (0: not at all) until it has ``shadow_min_samples`` pairs, or for
    ``shadow_deadline_s``. More disagreement with the incumbent than
    ``shadow_disagreement_max``, as a mean over devices, holds or aborts. Unless
    ``max_failures`` sets a hard limit, the gate itself decides how many devices may
    fail. ``promote_untested`` promotes past a stage's deadline what devices could not
    test.
    """

    stages: Annotated[list[Ratio], Meta(min_length=1, max_length=10)] = field(
        default_factory=lambda: [0.25, 0.5, 1.0]
    )
    canary_min: Annotated[int, Meta(ge=1)] = 1
    max_failures: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    min_labels: Annotated[int, Meta(ge=0)] = 40
    accuracy_drop_max: Ratio = 0.05
    promote_untested: bool = False
    paired_latency_ratio_max: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    soak_s: Seconds = 3.0
    stage_deadline_s: Seconds = 600.0
    probation_min_predictions: Annotated[int, Meta(ge=1)] = 60
    probation_min_s: Seconds = 2.0
    shadow_ratio: Ratio = 0.1
    shadow_min_samples: Annotated[int, Meta(ge=1)] = 20
    shadow_deadline_s: Seconds = 120.0
    shadow_disagreement_max: Ratio = 1.0


class HubConfig(Strict, frozen=True, kw_only=True):
    """The whole of ``hub.toml``; every key has a default."""

    database: str = ""
    tick_s: Seconds = 0.5
    broker: BrokerConfig = BrokerConfig()
    api: ApiConfig = ApiConfig()
    identity: IdentityConfig = IdentityConfig()
    ingest: IngestConfig = IngestConfig()
    storage: StorageConfig = StorageConfig()
    monitor: MonitorConfig = MonitorConfig()
    retrain: RetrainConfig = RetrainConfig()
    rollout: RolloutConfig = RolloutConfig()


class Home:
    """The hub's home folder and what is where in it."""

    def __init__(self, path: Path) -> None:
        """Point at a home folder, which need not exist yet."""
        self.path = path
        self.config_file = path / CONFIG_FILE
        self.keys = path / "keys"
        self.offline_keys = path / "offline-keys"
        self.tuf = path / "tuf"
        self.artifacts = path / "artifacts"
        self.releases = path / "releases"
        self.jobs = path / "jobs"
        self.root_file = path / "root.json"
        self.ca_file = path / "ca.pem"
        self.ca_key = self.keys / "ca.pem"

    def folders(self) -> list[Path]:
        """Return the folders that the hub writes files into."""
        fixed = (self.path, self.keys, self.tuf, self.artifacts, self.releases)
        return [*fixed, *sorted(self.releases.glob("[0-9]*"))]

    def read_config(self) -> HubConfig:
        """Read ``hub.toml``.

        Raises:
            SettingsError: It is missing or not valid.
        """
        return read_settings(
            self.config_file,
            HubConfig,
            prefix="SHOAL_HUB",
            env={k: v for k, v in os.environ.items() if k != HOME_VARIABLE},
        )

    def database_url(self, config: HubConfig) -> "URL":
        """Return the database's URL; SQLite in the home folder by default.

        Raises:
            SettingsError: The setting ``database`` cannot be used
                (``HUB-STORE-003``, ``HUB-STORE-004``).
        """
        from sqlalchemy import URL

        from hub.storage.url import read_url

        if config.database:
            return read_url(config.database)
        return URL.create("sqlite", database=str(self.path / "hub.db"))
