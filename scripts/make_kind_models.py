"""Make the small models of many kinds that tests load: ``tests/data/kinds/*.tflite``.

Usage: ``python scripts/make_kind_models.py [FOLDER]`` (needs the trainer's extra).

Models made elsewhere have several inputs, other number formats, free dimensions, other
signatures or none. Weights are fixed: the same TensorFlow version makes the same bytes.
``*-bare.tflite`` are files as old converters made them, without any signature.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

FLOWS, STATES = 4, 3
TINY = "tiny.tflite"
NUMBERS, SCALE, ZERO_POINT = 64, 0.0234375610, 5


class Pump(tf.Module):  # type: ignore[misc]
    """A regression on two inputs: a load and three hidden states."""

    def __init__(self) -> None:
        """Draw the weights from a fixed seed."""
        super().__init__()
        rng = np.random.default_rng(21)
        self.first = tf.constant(rng.normal(size=(FLOWS + 1, STATES)), tf.float32)
        self.second = tf.constant(rng.normal(size=(STATES, 1)), tf.float32)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((None, FLOWS), tf.float32, "flow"),
            tf.TensorSpec((None, 1), tf.float32, "level"),
        ]
    )
    def serve(self, flow: tf.Tensor, level: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return load and states of a batch."""
        states = tf.tanh(tf.matmul(tf.concat([flow, level], axis=1), self.first))
        return {"load": tf.matmul(states, self.second), "states": states}


class Kinds(tf.Module):  # type: ignore[misc]
    """Integers and truth values in and out."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((1, 3), tf.int32, "counts"),
            tf.TensorSpec((1,), tf.int64, "ticks"),
            tf.TensorSpec((1, 3), tf.bool, "mask"),
        ]
    )
    def serve(
        self, counts: tf.Tensor, ticks: tf.Tensor, mask: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the masked counts, the next tick and which counts are positive."""
        return {
            "kept": tf.where(mask, counts, tf.zeros_like(counts)),
            "next": ticks + 1,
            "positive": counts > 0,
        }


class Rows(tf.Module):  # type: ignore[misc]
    """Any number of rows of three axes; one mean an axis."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((None, None, 3), tf.float32, "rows")]
    )
    def serve(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the means of a batch."""
        return {"mean": tf.reduce_mean(rows, axis=1)}


class Twins(tf.Module):  # type: ignore[misc]
    """Two free lengths that must be the same."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((1, None), tf.float32, "a"),
            tf.TensorSpec((1, None), tf.float32, "b"),
        ]
    )
    def serve(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the sum."""
        return {"sum": a + b}


class Text(tf.Module):  # type: ignore[misc]
    """Takes texts, which no device serves."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, 2), tf.string, "words")]
    )
    def serve(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the second word."""
        return {"word": words[:, 1:]}


class Waves(tf.Module):  # type: ignore[misc]
    """Answers with complex numbers, which no device serves."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, 8), tf.float32, "signal")]
    )
    def serve(self, signal: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the spectrum."""
        return {"spectrum": tf.signal.rfft(signal)}


class Two(tf.Module):  # type: ignore[misc]
    """Two signatures, neither of them the usual one."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, 2), tf.float32, "x")]
    )
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return twice the input."""
        return {"doubled": x * 2}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((1, 2), tf.float32, "x")]
    )
    def halve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return half the input."""
        return {"halved": x / 2}


def main(folder: Path) -> None:
    """Write all models into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "pump": _convert(Pump()),
        "pump-int8": _convert(Pump(), numbers=tf.int8),
        "pump-uint8": _convert(Pump(), numbers=tf.uint8),
        "pump-int16": _convert(Pump(), numbers=tf.int16),
        "kinds": _convert(Kinds()),
        "rows": _convert(Rows(), {"score": "serve"}),
        "twins": _convert(Twins()),
        "text": _convert(Text()),
        "waves": _convert(Waves()),
        "two": _convert(Two(), {"double": "double", "halve": "halve"}),
        "half": _half(),
        **_quantizers(),
    }
    made["pump-bare"] = _without_signature(made["pump"])
    made["pump-int8-bare"] = _without_signature(made["pump-int8"])
    made["tiny-bare"] = _without_signature((folder.parent / TINY).read_bytes())
    for name, data in made.items():
        (folder / f"{name}.tflite").write_bytes(data)


def _convert(
    module: tf.Module,
    signatures: Mapping[str, str] = MappingProxyType({"serving_default": "serve"}),
    numbers: tf.DType | None = None,
) -> bytes:
    functions = {key: getattr(module, name) for key, name in signatures.items()}
    with TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            saved, signature_keys=list(functions)
        )
        if numbers is not None:
            _quantize(converter, numbers)
        return bytes(converter.convert())


def _quantize(converter: tf.lite.TFLiteConverter, numbers: tf.DType) -> None:
    ops = tf.lite.OpsSet
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _pump_examples
    converter.target_spec.supported_ops = [
        ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        if numbers is tf.int16
        else ops.TFLITE_BUILTINS_INT8
    ]
    converter.inference_input_type = numbers
    converter.inference_output_type = numbers


def _pump_examples() -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(22)
    for _ in range(64):
        flow = rng.normal(size=(1, FLOWS)).astype(np.float32)
        level = rng.uniform(0, 2, size=(1, 1)).astype(np.float32)
        yield {"flow": flow, "level": level}


def _without_signature(data: bytes) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    model.signatureDefs = None
    model.metadata = None
    return _packed(model)


def _half() -> bytes:
    """Return a model that turns four float16 numbers into float32."""
    kinds = schema.TensorType
    x, y = _tensor(b"x", kinds.FLOAT16, 4), _tensor(b"y", kinds.FLOAT32, 4)
    return _operator(schema.BuiltinOperator.DEQUANTIZE, 3, x, y)


def _quantizers() -> dict[str, bytes]:
    """Return models that only quantize or dequantize.

    Their scale and zero point are marks that a test replaces in the file.
    """
    kinds, operators = schema.TensorType, schema.BuiltinOperator
    made = {}
    for name in ("int8", "uint8", "int16"):
        floats = _tensor(b"floats", kinds.FLOAT32, NUMBERS)
        steps = _tensor(b"steps", getattr(kinds, name.upper()), NUMBERS)
        steps.quantization = schema.QuantizationParametersT()
        steps.quantization.scale, steps.quantization.zeroPoint = [SCALE], [ZERO_POINT]
        made[f"quantize-{name}"] = _operator(operators.QUANTIZE, 2, floats, steps)
        made[f"dequantize-{name}"] = _operator(operators.DEQUANTIZE, 3, steps, floats)
    return made


def _operator(code: int, version: int, x: schema.TensorT, y: schema.TensorT) -> bytes:
    model, graph = schema.ModelT(), schema.SubGraphT()
    kind, operator = schema.OperatorCodeT(), schema.OperatorT()
    kind.builtinCode = kind.deprecatedBuiltinCode = code
    kind.version = version
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.name, graph.operators = b"main", [operator]
    graph.tensors, graph.inputs, graph.outputs = [x, y], [0], [1]
    model.version, model.description = 3, b"one operator"
    model.operatorCodes, model.subgraphs = [kind], [graph]
    model.buffers = [schema.BufferT()]
    return _packed(model)


def _tensor(name: bytes, kind: int, length: int) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name, kind, [1, length], 0
    return tensor


def _packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/kinds"))
