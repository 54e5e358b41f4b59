"""The task ``watch``: which of seven shoulder exercises is a wearer doing?

A sample is two seconds of a watch (100 rows at 50 Hz, six axes). People are split once
and for all, in the order of their numbers: four train, four are the demo's wearers, two
are the gate's. A first model is trained on right arms only, so left arms are real,
natural drift. Augmentation keeps it real: it varies how the watch sits (small
rotations), its gain and noise, but never mirrors an arm.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta

from edge_agent.wire.manifest import InputContract, TensorContract
from trainer.settings import Settings, read_settings
from trainer.tasks.task import Block, Corpus, Floats, NetParams, Windows
from trainer.tasks.watch_source import SHA256, Recording, load_recordings

if TYPE_CHECKING:
    import keras

LABELS = (
    "pendulum",
    "abduction",
    "forward-elevation",
    "internal-rotation",
    "external-rotation",
    "trapezius-extension",
    "upright-row",
)
TRAIN = ("p01", "p02", "p03", "p04")
WEARERS = ("p05", "p06", "p07", "p08")
GATE = ("p09", "p10")
ROWS = 100
HOP = 20
RATE_HZ = 50.0
AXES = ("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z")
# The sensors' ranges are 16 g and 2000 degrees/s, which is 35 rad/s.
LIMIT = 40.0
# Half a second of one value. In the recordings no axis repeats one more than twice.
FLAT_ROWS = 25

_GAIN_SD = 0.08
_NOISE_SD = 0.02


class WatchSettings(Settings, frozen=True, kw_only=True):
    """Settings of this task; ``jitter_deg`` is how crooked a watch may sit."""

    arms: Literal["right", "left", "both"] = "right"
    jitter_deg: Annotated[float, Meta(ge=0, le=45)] = 12.0


class WatchTask:
    """See :class:`trainer.tasks.task.Task`."""

    name = "watch"
    labels = LABELS
    segments = ("right", "left")
    student = NetParams(filters=(16, 24, 32), hidden=24, dropout=0.3)
    teacher = NetParams(filters=(24, 32, 48), hidden=48, dropout=0.4)
    contract = InputContract(
        tensor=TensorContract(name="window", shape=[ROWS, len(AXES)]),
        axes=list(AXES),
        low=-LIMIT,
        high=LIMIT,
        rate_hz=RATE_HZ,
        hop=HOP,
        flat_rows=FLAT_ROWS,
    )

    def __init__(self, settings: WatchSettings) -> None:
        """Open the task with a job's settings."""
        self.settings = settings

    @property
    def trained_segments(self) -> tuple[str, ...]:
        """The arms of the train people that are trained on."""
        arms = self.settings.arms
        return self.segments if arms == "both" else (arms,)

    def load(self) -> Corpus:
        """Return train windows and gate blocks; see the protocol for errors."""
        recordings = load_recordings()
        chosen = [
            recording
            for recording in recordings
            if recording.person in TRAIN and recording.arm in self.trained_segments
        ]
        return Corpus(
            train=_windows(chosen),
            gate=tuple(
                stream(recordings, person, arm)
                for arm in self.segments
                for person in GATE
            ),
            digests={"watch_dataset.npy": SHA256},
        )

    def augment(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Rotate a little, scale the gyroscope's gain, add noise."""
        turned = np.empty_like(x)
        turns = _rotations(len(x), np.deg2rad(self.settings.jitter_deg), rng)
        for axes in (slice(0, 3), slice(3, 6)):
            turned[:, :, axes] = x[:, :, axes] @ turns
        turned[:, :, 3:] *= rng.normal(1, _GAIN_SD, (len(x), 1, 1))
        turned += rng.normal(0, _NOISE_SD, x.shape)
        return turned

    def build(self, params: NetParams, x: Floats) -> "keras.Model":
        """Build a small convolutional net with normalization inside.

        Time is the only axis that is convolved; a unit axis beside it makes that a
        Conv2D, which the device's runtime keeps in fewer partitions than a Conv1D.
        """
        from keras import Input, Model, layers

        scale = layers.Normalization()
        scale.adapt(x)
        inputs = Input(x.shape[1:])
        z = layers.Reshape((ROWS, 1, len(AXES)))(scale(inputs))
        for filters, width in zip(params.filters, (7, 5, 5), strict=True):
            z = layers.Conv2D(
                filters, (width, 1), strides=(2, 1), padding="same", use_bias=False
            )(z)
            z = layers.ReLU()(layers.BatchNormalization()(z))
        z = layers.Dropout(params.dropout)(layers.GlobalAveragePooling2D()(z))
        z = layers.Dense(params.hidden, activation="relu", name="hidden")(z)
        z = layers.Dropout(params.dropout / 2)(z)
        return Model(inputs, layers.Dense(len(LABELS), name="logits")(z))


def open_watch(settings: Mapping[str, str]) -> WatchTask:
    """Open the task with settings in text.

    Raises:
        JobError: A setting is unknown or out of bounds.
    """
    return WatchTask(read_settings(WatchSettings, settings))


def cut(rows: Floats, hop: int = HOP) -> Floats:
    """Cut rows ``(n, axes)`` into windows ``(k, ROWS, axes)``, one every ``hop``."""
    if len(rows) < ROWS:
        return np.empty((0, ROWS, rows.shape[-1]), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(rows, ROWS, axis=0)
    return np.ascontiguousarray(view[::hop].transpose(0, 2, 1), np.float32)


def stream(recordings: tuple[Recording, ...], person: str, arm: str) -> Block:
    """Return one person's windows of one arm in the order of a device's replay.

    Recordings take turns, a window each, so that the exercises are mixed over time.
    """
    chosen = [r for r in recordings if r.person == person and r.arm == arm]
    turns = [
        (turn, place, window, recording.exercise)
        for place, recording in enumerate(chosen)
        for turn, window in enumerate(cut(recording.rows))
    ]
    turns.sort(key=lambda item: item[:2])
    return Block(
        group=f"{person}-{arm}",
        segment=arm,
        x=np.stack([window for _, _, window, _ in turns]),
        y=np.array([exercise for *_, exercise in turns]),
    )


def halves(recording: Recording) -> tuple[tuple[str, Floats], tuple[str, Floats]]:
    """Return the named first and second half of a recording's rows, disjoint."""
    middle = len(recording.rows) // 2
    return (
        (f"{recording.name}-first", recording.rows[:middle]),
        (f"{recording.name}-second", recording.rows[middle:]),
    )


def _windows(recordings: list[Recording]) -> Windows:
    parts = [cut(recording.rows) for recording in recordings]
    counts = [len(part) for part in parts]
    return Windows(
        x=np.concatenate(parts),
        y=np.repeat([recording.exercise for recording in recordings], counts),
        group=np.repeat([recording.person for recording in recordings], counts),
    )


def _rotations(n: int, sd: float, rng: np.random.Generator) -> Floats:
    """Return ``(n, 3, 3)`` rotations by normal angles (Rodrigues' formula)."""
    vector = rng.normal(0, sd, (n, 3))
    angle = np.linalg.norm(vector, axis=1)[:, np.newaxis, np.newaxis]
    axis = vector / np.maximum(angle[:, :, 0], 1e-9)
    cross = np.zeros((n, 3, 3))
    cross[:, (2, 0, 1), (1, 2, 0)] = axis
    cross[:, (1, 2, 0), (2, 0, 1)] = -axis
    turns = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return np.asarray(turns, np.float32)
