"""Write golden vectors of every message of the present protocol version.

Vectors of a released version are never changed: a file that exists is left alone, and
``tests/contract/test_wire_vectors.py`` fails where today's code reads it differently.
"""

import sys
from pathlib import Path

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.wire import batch
from edge_agent.wire.batch import BatchHeader
from edge_agent.wire.block import BlockHeader, BlockRequest
from edge_agent.wire.codec import encode, encode_pretty
from edge_agent.wire.control import (
    Ack,
    Assignment,
    CollectSamples,
    Command,
    Obstacle,
    PairedPolicy,
    Presence,
    ProbationPolicy,
    Reported,
    ShadowPolicy,
    StopCollecting,
    TufBundle,
    TufVersions,
)
from edge_agent.wire.enrol import (
    EnrolRefusal,
    EnrolReply,
    EnrolRequest,
    JoinFile,
    RenewRequest,
)
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.manifest import (
    AnswerKind,
    Bundle,
    FileRef,
    GateCheck,
    GateReport,
    InputContract,
    Provenance,
    Release,
    TensorContract,
)
from edge_agent.wire.profile import Channel, ProfileData, ReferenceProfile, Source
from edge_agent.wire.records import LANE_OF
from edge_agent.wire.topics import Lane
from edge_agent.wire.version import PROTOCOL_VERSION

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.vector_records import AT, BOOT, DIGEST, RECORDS

FOLDER = Path(__file__).parents[1] / "tests" / "contract" / "vectors"
REPORTED = Reported(device="watch-01", boot=BOOT, version=4, at=AT, release=1)
PEM = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"

OPTIONAL = (
    "ask",
    "shadow",
    "penalty_until",
    "pinned",
    "source_dropped",
    "shedding",
    "obstacle",
    "api",
    "clock_untrusted",
    "weights",
    "extra_inputs",
    "flat_rows",
    "paired",
    "evidence",
    "other",
)
"""Fields that came later; messages with and without them have vectors."""

BUNDLE = Bundle(
    name="watch",
    task="watch",
    variant="int8",
    input=InputContract(
        tensor=TensorContract(name="x", shape=[100, 6]), rate_hz=50.0, hop=20
    ),
    outputs=[TensorContract(name="probabilities", shape=[2])],
    labels=["pendulum", "abduction"],
    model=FileRef(name="model.tflite", sha256=DIGEST, bytes=3),
    reference=FileRef(name="reference.json", sha256=DIGEST, bytes=3),
    golden=FileRef(name="golden.npz", sha256=DIGEST, bytes=3),
    calibration=FileRef(name="calibration.npz", sha256=DIGEST, bytes=3),
    card=FileRef(name="card.md", sha256=DIGEST, bytes=3),
    gate=GateReport(
        ok=True,
        checks=[GateCheck(name="accuracy", ok=True, observed=0.8, limit=0.7)],
    ),
    provenance=Provenance(created_at=AT),
)

MESSAGES: tuple[msgspec.Struct, ...] = (
    BlockRequest(sha256=DIGEST, offset=131_072, count=8),
    BlockHeader(sha256=DIGEST, offset=131_072, total=131_077, crc32=907_060_870),
    Presence(
        device="watch-01",
        boot=BOOT,
        online=True,
        at=AT,
        agent="0.1.0",
        runtime="ai-edge-litert 2.3.0",
        hardware="demo",
        labels={"cohort": "ward-a"},
        capabilities=["collect"],
    ),
    Reported(
        device="watch-01",
        boot=BOOT,
        version=3,
        at=AT,
        release=2,
        sha256=DIGEST,
        previous=1,
        phase="PROBATION",
        assignment_seq=5,
        tuf=TufVersions(root=1, timestamp=4, snapshot=3, targets=1),
        quarantined=[3],
    ),
    Assignment(
        device="watch-01",
        seq=5,
        release=2,
        target="models/watch/2/release.json",
        rollout="r-2",
        issued_at=AT,
        artifacts_url="http://127.0.0.1:8770",
        probation=ProbationPolicy(min_predictions=50),
    ),
    replace(REPORTED, penalty_until=AT + 60),
    replace(REPORTED, pinned=True),
    replace(
        REPORTED,
        obstacle=Obstacle(code="AGENT-UPDATE-011", text="metadata has expired"),
    ),
    replace(REPORTED, clock_untrusted=True),
    replace(REPORTED, shedding="bulk"),
    replace(
        REPORTED,
        api=["unix:///var/lib/shoal/state/agent.sock", "http://127.0.0.1:8080"],
    ),
    Assignment(
        device="watch-01",
        seq=6,
        release=3,
        target="models/watch/3/release.json",
        rollout="r-3",
        issued_at=AT,
        artifacts_url="http://127.0.0.1:8770",
        shadow=ShadowPolicy(sample_ratio=0.25),
        forced=True,
    ),
    Assignment(
        device="watch-01",
        seq=7,
        release=4,
        target="models/watch/4/release.json",
        rollout="r-4",
        issued_at=AT,
        artifacts_url="http://127.0.0.1:8770",
        paired=PairedPolicy(latency_ratio_max=3.0),
    ),
    Command(
        device="watch-01",
        id=7,
        expires_at=AT,
        action=CollectSamples(max_samples=200, reason="drift in ward-b"),
    ),
    Command(device="watch-01", id=8, expires_at=AT, action=StopCollecting()),
    Envelope(payload='{"seq":5}', keyid=DIGEST, sig="cd" * 64),
    Ack(boot=BOOT, lane=Lane.METRIC, upto=42, gap=True),
    Ack(boot=BOOT, lane=Lane.METRIC, upto=42, ask=7),
    TufBundle(files={"1.root.json": '{"signed":{},"signatures":[]}'}),
    EnrolRequest(device="watch-01", token="c2VjcmV0", csr=PEM),  # noqa: S106
    RenewRequest(certificate=PEM, csr=PEM, signature="ab" * 70),
    EnrolReply(certificate=PEM, ca=PEM),
    JoinFile(
        device="watch-01",
        root='{"signed":{},"signatures":[]}',
        broker_host="hub.example.org",
        broker_port=8883,
        broker_tls=True,
        hub="https://hub.example.org:8770",
        token="c2VjcmV0",  # noqa: S106
        ca=PEM,
    ),
    EnrolRefusal(code="HUB-ENROL-004", text="the token has expired", cure="ask again"),
    Release(release=2, created_at=AT, bundle=BUNDLE),
    Release(
        release=3,
        created_at=AT,
        bundle=msgspec.structs.replace(
            BUNDLE, weights=FileRef(name="weights.npz", sha256=DIGEST, bytes=3)
        ),
    ),
    Release(
        release=4,
        created_at=AT,
        bundle=msgspec.structs.replace(
            BUNDLE,
            extra_inputs=[
                InputContract(
                    tensor=TensorContract(name="on", dtype="bool", shape=[]), low=0.0
                )
            ],
            answer=AnswerKind.VALUES,
            labels=[],
        ),
    ),
    Release(
        release=5,
        created_at=AT,
        bundle=msgspec.structs.replace(
            BUNDLE, input=msgspec.structs.replace(BUNDLE.input, flat_rows=25)
        ),
    ),
    ReferenceProfile(
        model="watch",
        channels=[
            Channel(name="accel_x", source=Source.INPUT_MEAN, edges=[-1.0, 1.0]),
            Channel(name="class", source=Source.CLASS, categories=["a", "b"]),
        ],
        data=ProfileData(rows=3, counts=[[0, 3, 0], [1, 2]]),
    ),
)


def vectors() -> dict[str, bytes]:
    """Return the vectors by file name."""
    files: dict[str, bytes] = {}
    for message in MESSAGES:
        name = type(message).__name__
        if isinstance(message, Command):
            name += f".{type(message.action).__name__}"
        files[f"{name}{_variant(message)}.json"] = encode_pretty(message)
    for record in RECORDS:
        name = f"{type(record).__name__}{_variant(record)}"
        files[f"{name}.json"] = encode_pretty(record)
        header = BatchHeader(
            boot=BOOT,
            lane=LANE_OF[type(record)],
            base=6,
            lo=7,
            hi=8,
            wall_at=AT,
            mono_s=12.5,
        )
        rows = [(seq, encode(record)) for seq in (7, 8)]
        files[f"{name}.batch"] = batch.encode_batch(header, rows)
    return files


def _variant(message: msgspec.Struct) -> str:
    """Name the vector after the first optional field that the message has."""
    bundle = getattr(message, "bundle", None)
    parts = (message, bundle, getattr(bundle, "input", None))
    for field in OPTIONAL:
        if any(getattr(part, field, UNSET) is not UNSET for part in parts):
            return f".{field}"
    return ""


def main() -> int:
    """Write what is missing and say what was written."""
    folder = FOLDER / f"v{PROTOCOL_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in vectors().items():
        path = folder / name
        if not path.exists():
            path.write_bytes(data)
            sys.stdout.write(f"wrote {path.relative_to(FOLDER)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
