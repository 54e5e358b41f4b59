"""The hub's tables (SQLAlchemy Core). Migrations in ``migrations/`` create them.

JSON documents are kept as text, exactly as they were encoded: the hub decodes them
with the wire's structs, so one definition holds everywhere. Times are seconds since
1970-01-01 UTC.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

DEVICES = Table(
    "devices",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("first_seen_at", Float, nullable=False),
    Column("last_seen_at", Float, nullable=False),
    Column("online", Boolean, nullable=False, default=False),
    Column("boot", String(16), nullable=False, default=""),
    Column("presence", Text, nullable=False, default=""),  # wire.control.Presence
    Column("reported", Text, nullable=False, default=""),  # wire.control.Reported
    Column("cohort", String(128), nullable=False, default=""),
    Column("release", Integer, nullable=False, default=0),
    Column("sha256", String(64), nullable=False, default=""),
    Column("clock_offset_s", Float, nullable=False, default=0.0),
    Column("retired_at", Float),  # null: it takes part
)

TOMBSTONES = Table(
    "tombstones",
    METADATA,
    Column("digest", String(64), primary_key=True),  # of the id, see storage.tombstones
    Column("forgotten_at", Float, nullable=False),
    # The id, only until everything is erased.
    Column("pending", String(64), nullable=False, server_default=""),
    Column("erased_at", Float),
)

HUB_LINKS = Table(
    "hub_links",
    METADATA,
    Column("name", String(64), primary_key=True),  # the part of the hub that beats
    Column("up", Boolean, nullable=False),
    Column("since_at", Float, nullable=False),  # since when it is up, or down
    Column("beat_at", Float, nullable=False),
)

ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("release", Integer, nullable=False),
    Column("rollout", String(64), nullable=False),
    Column("envelope", Text, nullable=False),  # wire.envelope.Envelope
    Column("issued_at", Float, nullable=False),
    Column("published_at", Float),  # null: not yet handed to the broker
)

COMMANDS = Table(
    "commands",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("envelope", Text, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("published_at", Float),
    sqlite_autoincrement=True,
)

STREAMS = Table(
    "streams",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("boot", String(16), nullable=False),
    Column("lane", String(16), nullable=False),
    Column("watermark", BigInteger, nullable=False),
    Column("top", BigInteger, nullable=False),  # highest number committed
    Column("evicted", Integer, nullable=False, default=0),
    Column("redelivered", Integer, nullable=False, default=0),
    # up to which number records were deleted because of their age
    Column("pruned", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("device", "boot", "lane", name="streams_once"),
    sqlite_autoincrement=True,
)

# Written out, not bound: SQLite uses a partial index only where it sees the values.
IS_PROFILE = text("kind = 'profile'")
IS_UPDATE = text("kind = 'update'")
IS_SAMPLE = text("kind = 'sample'")
_IS_EITHER = text("kind = 'update' OR kind = 'sample'")

# Half of the cost of an insert is indexes. So a stream is a number, not a foreign key,
# and only the kinds that are searched by device are in the index for that.
RECORDS = Table(
    "records",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),  # order of commit
    Column("stream", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("release", Integer, nullable=False, default=0),
    Column("body", Text, nullable=False),  # one of wire.records
    UniqueConstraint("stream", "seq", name="records_of_stream"),
    Index(
        "records_by_stream",
        "stream",
        "received_at",
        sqlite_where=_IS_EITHER,
        postgresql_where=_IS_EITHER,
    ),
    Index(
        "records_profiles", "id", sqlite_where=IS_PROFILE, postgresql_where=IS_PROFILE
    ),
    sqlite_autoincrement=True,
)
RECORDS_OF_STREAMS = RECORDS.join(STREAMS, STREAMS.c.id == RECORDS.c.stream)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),  # order of commit
    Column("device", String(64), nullable=False),
    Column("sample_id", String(128), nullable=False),
    Column("release", Integer, nullable=False),
    Column("predicted", String(128), nullable=False),
    Column("label", String(128), nullable=False),
    Column("correct", Boolean, nullable=False),
    Column("predicted_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("other_release", Integer),  # null: no other release answered this sample
    Column("other_correct", Boolean),
    UniqueConstraint("device", "sample_id", "release", name="feedback_once"),
    Index("feedback_by_release", "release", "device", "predicted_at"),
    sqlite_autoincrement=True,
)

POISON = Table(
    "poison",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("received_at", Float, nullable=False),
    Column("topic", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

# What was stored of a device on a day (UTC), and what was deleted or refused.
DEVICE_DAYS = Table(
    "device_days",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("gone_rows", BigInteger, nullable=False),
    Column("gone_bytes", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    # up to which record the quota has deleted its samples and metrics, and everything
    Column("bulk_after", BigInteger, nullable=False),
    Column("any_after", BigInteger, nullable=False),
    Index("device_days_by_day", "day"),
)

BIRTHS = Table(
    "births",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("boot", String(16), primary_key=True),
    Column("born_at", Float, nullable=False),  # the device's time
    Column("heard_at", Float, nullable=False),
)

CLONES = Table(
    "clones",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("sign", String(16), nullable=False),  # two boots | two contents
    Column("detail", Text, nullable=False),
    Column("times", Integer, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)

RELEASES = Table(
    "releases",
    METADATA,
    Column("release", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # validated | published | retired
    Column("bundle_sha256", String(64), nullable=False, unique=True),
    Column("model_sha256", String(64), nullable=False),
    Column("manifest", Text, nullable=False),  # wire.manifest.Release
    Column("thresholds", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("published_at", Float),
)

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("release", Integer, ForeignKey("releases.release"), nullable=False),
    Column("incumbent", Integer, nullable=False, default=0),
    Column("state", String(16), nullable=False),
    Column("stage", Integer, nullable=False, default=0),
    Column("plan", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("stage_started_at", Float, nullable=False),
)

ROLLOUT_DEVICES = Table(
    "rollout_devices",
    METADATA,
    Column("rollout", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("stage", Integer, nullable=False),
    Column("assigned_seq", Integer, nullable=False),
    Column("assigned_at", Float, nullable=False),
    Column("outcome", String(16), nullable=False, default=""),
    Column("code", String(32), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("decided_at", Float),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("retried_after", Text, nullable=False, server_default=""),
    Column("prior_release", Integer),  # null: the rollout's incumbent
)

ROLLOUT_EVENTS = Table(
    "rollout_events",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rollout", String(64), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("from_state", String(16), nullable=False),
    Column("to_state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("inputs", Text, nullable=False),  # the facts of the decision, as JSON
)

ALERTS = Table(
    "alerts",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("rule", String(32), nullable=False),
    Column("release", Integer, nullable=False),
    Column("cohort", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("pending_at", Float, nullable=False),
    Column("fired_at", Float),
    Column("clear_at", Float),  # since when the condition is no longer met
    Column("resolved_at", Float),
    Column("updated_at", Float, nullable=False),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # train | retrain
    # collecting | queued | running | done | failed
    Column("state", String(16), nullable=False),
    Column("alert", Integer),
    Column("reason", Text, nullable=False, default=""),
    Column("folder", Text, nullable=False),
    Column("pid", Integer),
    Column("exit_code", Integer),
    Column("release", Integer),
    Column("error", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
)

ENROL_TOKENS = Table(
    "enrol_tokens",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),  # sha256 of the secret
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("serial", String(40), primary_key=True),  # hex
    Column("device", String(64), nullable=False, index=True),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

BENCHES = Table(
    "benches",
    METADATA,
    Column("hardware", String(128), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("at", Float, primary_key=True),
    Column("added_at", Float, nullable=False),
    Column("body", Text, nullable=False),  # a BenchReport
)
