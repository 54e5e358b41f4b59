"""Make the small models that tests load: ``tests/data/tiny*.tflite``.

Usage: ``python scripts/make_test_model.py [FOLDER]`` (needs the trainer's extra).

The graph has the shape of the default task's models, with fixed weights: input
``(1, 100, 6)``; outputs ``probabilities`` [7], ``embedding`` [8], ``distance`` [1] and
``energy`` [1]. ``tiny.tflite`` is float with a signature; ``tiny-int8.tflite`` has int8
input and output; ``tiny-plain.tflite`` is float without a signature.
``spiteful.tflite`` answers like ``tiny.tflite`` and passes every self-test, but on some
samples it loops for ever, eats memory, or kills its process (:class:`Spiteful`).
``narrow.tflite`` takes three axes in place of six, ``lacking.tflite`` needs an operator
that no device has. The same TensorFlow version makes the same bytes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

ROWS, AXES, CLASSES, EMBEDDING = 100, 6, 7, 8
LOOPS, HOARDS, TRAPS = 100.0, 150.0, -100.0
NARROW = 3


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
        return self.answer(x)

    def answer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the same as a part of a graph."""
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


class Narrow(Tiny):
    """A sensor of three axes."""

    def __init__(self) -> None:
        """Keep the weights of the first axes."""
        super().__init__()
        self.first = tf.concat([self.first[:NARROW], self.first[AXES:][:NARROW]], 0)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, NARROW), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what Tiny returns."""
        return self.answer(x)


class Spiteful(Tiny):
    """Does harm according to the first value ``v`` of a sample, in native code.

    Above 100 and up to 150 it loops for ever. Above 150 it takes ``v - 150`` times four
    million bytes. Below -100 a division of integers overflows, which x86 answers with
    SIGFPE.
    """

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, ROWS, AXES), tf.float32, "x")]
    )
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what Tiny returns, after the harm."""
        value = x[0, 0, 0]
        start = tf.where(value > HOARDS, 0.0, value)
        (loops,) = tf.while_loop(
            lambda left: left > LOOPS, lambda left: (tf.maximum(left, 500.0),), (start,)
        )
        count = tf.where(value > HOARDS, (value - HOARDS) * 1e6, 1.0)
        hoard = tf.reduce_max(tf.tile(x[0, :1, 0], [tf.cast(count, tf.int32)]))
        lowest = tf.cast(tf.where(value < TRAPS, -(2.0**31), value), tf.int32)
        minus_one = tf.cast(x[0, 0, 1:2] * 1e-30, tf.int32) - 1
        trap = tf.cast(tf.math.floormod(lowest, minus_one), tf.float32)[0]
        outputs: dict[str, tf.Tensor] = super().serve(x)
        spite = (loops + hoard + trap) * 1e-30
        return outputs | {"energy": outputs["energy"] + spite}


def _examples() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(11)
    for _ in range(32):
        yield [rng.normal(size=(1, ROWS, AXES)).astype(np.float32)]


def main(folder: Path) -> None:
    """Write the models into ``folder``."""
    model = Tiny()
    serve = model.serve.get_concrete_function()
    (folder / "tiny.tflite").write_bytes(_converted(model))
    (folder / "spiteful.tflite").write_bytes(_converted(Spiteful()))
    (folder / "narrow.tflite").write_bytes(_converted(Narrow()))
    tiny = (folder / "tiny.tflite").read_bytes()
    (folder / "lacking.tflite").write_bytes(_lacking(tiny))
    with TemporaryDirectory() as saved:
        tf.saved_model.save(model, saved, signatures={"serving_default": serve})
        (folder / "tiny-int8.tflite").write_bytes(_quantized(saved))
    plain = tf.lite.TFLiteConverter.from_concrete_functions([serve], model)
    (folder / "tiny-plain.tflite").write_bytes(plain.convert())


def _converted(model: Tiny) -> bytes:
    serve = model.serve.get_concrete_function()
    with TemporaryDirectory() as saved:
        tf.saved_model.save(model, saved, signatures={"serving_default": serve})
        return bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())


def _lacking(data: bytes) -> bytes:
    """Replace TANH by an operator of somebody's own."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    operators = schema.BuiltinOperator
    for code in model.operatorCodes:
        if code.builtinCode == operators.TANH:
            code.builtinCode = code.deprecatedBuiltinCode = operators.CUSTOM
            code.customCode = b"FlexTanh"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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
