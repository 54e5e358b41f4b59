"""Make the small models that the paired test is tested with: ``tests/data/paired``.

Usage: ``python scripts/make_paired_models.py [FOLDER]`` (needs the trainer's extra).

Those for windows have the inputs and outputs of ``tests/data/tiny.tflite`` and its
weights: ``slow.tflite`` answers the same after a loop that takes many times as long,
``slow-half-more.tflite`` and ``slow-thrice.tflite`` after loops of 1.5 and 3 times as
many turns; ``failing.tflite`` answers NaN to windows whose first axis is high;
``moving.tflite`` adds what it saw before, kept in a variable, to each
window; ``still.tflite`` is the same without a memory.
``finder.tflite`` and ``blind.tflite`` answer like a detector after its post-processing,
``wide.tflite`` with 65,536 numbers.
The same TensorFlow version makes the same bytes.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf

from scripts.make_test_model import AXES, ROWS, Tiny

SPINS = {"slow": 40, "slow-half-more": 60, "slow-thrice": 120}
WIDTH = 32
FOUND, KINDS = 6, 6
FAILS_ABOVE = 5.0
NUMBERS = 65_536


class Slow(Tiny):
    """Multiplies a matrix by itself for a while, then answers like Tiny."""

    def __init__(self, spins: int) -> None:
        """Take as many turns."""
        super().__init__()
        self.spins = spins

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what Tiny returns, later."""
        start = tf.fill((WIDTH, WIDTH), tf.reduce_mean(x))
        _, spun = tf.while_loop(
            lambda turn, _: turn < self.spins,
            lambda turn, matrix: (turn + 1, tf.tanh(tf.matmul(matrix, matrix))),
            (tf.constant(0), start),
        )
        outputs = self.answer(x)
        nothing = tf.reduce_sum(spun) * 1e-30
        return outputs | {"energy": outputs["energy"] + nothing}


class Failing(Tiny):
    """Answers NaN where the mean of the first axis is above :data:`FAILS_ABOVE`."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what Tiny returns, or NaN."""
        outputs = self.answer(x)
        spoil = 0.0 * tf.sqrt(FAILS_ABOVE - tf.reduce_mean(x, axis=1)[:, :1])
        return outputs | {"probabilities": outputs["probabilities"] + spoil}


class Moving(Tiny):
    """Adds half of all that it saw before to each window."""

    def __init__(self, share: float) -> None:
        """Add ``share`` of it (0: keep nothing)."""
        super().__init__()
        self.share = share
        self.seen = tf.Variable(tf.zeros((1, ROWS, AXES)), trainable=False)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what Tiny returns of the sum."""
        if not self.share:
            return self.answer(x)
        seen = self.seen.assign(self.share * self.seen + x)
        return self.answer(seen)


class Finder(tf.Module):  # type: ignore[misc]
    """Finds a class wherever an axis is high; ``sees`` scales its scores."""

    def __init__(self, sees: float) -> None:
        """Find with that strength."""
        super().__init__()
        self.sees = sees

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return boxes, classes, scores and their count."""
        scores = tf.sigmoid(self.sees * tf.reduce_mean(x, axis=1))
        kinds = tf.cast(tf.range(KINDS), tf.float32)[tf.newaxis]
        box = tf.reshape(tf.tile(scores[:, :, tf.newaxis], [1, 1, 4]), (1, FOUND, 4))
        return {
            "a_boxes": box,
            "b_classes": kinds + 0.0 * scores,
            "c_scores": scores,
            "d_count": tf.reduce_sum(tf.round(scores), axis=1),
        }


class Wide(tf.Module):  # type: ignore[misc]
    """Answers with as many numbers as an image has."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the window's values over and over."""
        flat = tf.reshape(x, (1, ROWS * AXES))
        times = -(-NUMBERS // (ROWS * AXES))
        return {"image": tf.tile(flat, [1, times])[:, :NUMBERS]}


def main(folder: Path) -> None:
    """Write the models into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, tf.Module] = {
        **{name: Slow(spins) for name, spins in SPINS.items()},
        "failing": Failing(),
        "moving": Moving(0.5),
        "still": Moving(0.0),
        "finder": Finder(9.0),
        "blind": Finder(-9.0),
        "wide": Wide(),
    }
    for name, module in made.items():
        (folder / f"{name}.tflite").write_bytes(_converted(module))


def _converted(module: tf.Module) -> bytes:
    serve = module.serve.get_concrete_function()
    with TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.experimental_enable_resource_variables = True
        return bytes(converter.convert())


if __name__ == "__main__":
    data = Path(__file__).parents[1] / "tests" / "data" / "paired"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else data)
