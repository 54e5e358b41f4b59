"""Make the small models that tests load: ``tests/data/tiny*.tflite``.

Usage: ``python scripts/make_test_model.py [FOLDER]`` (needs the trainer's extra).

The graph has the shape of the default task's models, with fixed weights: input
``(1, 100, 6)``; outputs ``probabilities`` [7], ``embedding`` [8], ``distance`` [1] and
``energy`` [1]. ``tiny.tflite`` is float with a signature; ``tiny-int8.tflite`` has int8
input and output; ``tiny-plain.tflite`` is float without a signature. The same
TensorFlow version makes the same bytes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tensorflow as tf

ROWS, AXES, CLASSES, EMBEDDING = 100, 6, 7, 8


class Tiny(tf.Module):  # type: ignore[misc]
    """Means and spreads of the axes, then two fixed dense layers."""

    def __init__(self) -> None:
        """Draw the weights from a fixed seed."""
        super().__init__()
        rng = np.random.default_rng(7)
        first = rng.normal(size=(2 * AXES, EMBEDDING)) * 0.8
        second = rng.normal(size=(EMBEDDING, CLASSES))
        self.first = tf.constant(first, tf.float32)
        self.second = tf.constant(second, tf.float32)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the four outputs of one window."""
        mean = tf.reduce_mean(x, axis=1)
        spread = tf.reduce_mean(tf.abs(x), axis=1)
        hidden = tf.tanh(tf.matmul(tf.concat([mean, spread], axis=1), self.first))
        logits = tf.matmul(hidden, self.second)
        largest = tf.reduce_max(logits, axis=1, keepdims=True)
        nearest = tf.reduce_max(tf.nn.log_softmax(logits), axis=1, keepdims=True)
        return {
            "probabilities": tf.nn.softmax(logits),
            "embedding": hidden,
            "distance": tf.reduce_sum(hidden * hidden, axis=1, keepdims=True),
            "energy": nearest - largest,
        }


def _examples() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(11)
    for _ in range(32):
        yield [rng.normal(size=(1, ROWS, AXES)).astype(np.float32)]


def main(folder: Path) -> None:
    """Write the three models into ``folder``."""
    model = Tiny()
    serve = model.serve.get_concrete_function()
    with TemporaryDirectory() as saved:
        tf.saved_model.save(model, saved, signatures={"serving_default": serve})
        named = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
        (folder / "tiny.tflite").write_bytes(named)
        (folder / "tiny-int8.tflite").write_bytes(_quantized(saved))
    plain = tf.lite.TFLiteConverter.from_concrete_functions([serve], model)
    (folder / "tiny-plain.tflite").write_bytes(plain.convert())


def _quantized(saved: str) -> bytes:
    small = tf.lite.TFLiteConverter.from_saved_model(saved)
    small.optimizations = [tf.lite.Optimize.DEFAULT]
    small.representative_dataset = _examples
    small.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    small.inference_input_type = tf.int8
    small.inference_output_type = tf.int8
    return bytes(small.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data"))
