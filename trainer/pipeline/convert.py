"""From a fitted net to TFLite files whose graph also tells what monitoring needs.

Beside the probabilities the graph yields ``embedding`` (the first eight whitened
principal components of the hidden layer), ``distance`` (Mahalanobis distance of the
hidden layer to the training data) and ``energy`` (minus the log-sum-exp of the logits;
Liu et al., 2020). Their constants are fitted on the training data and baked in. Inputs
and outputs are float32 in every variant, batch is fixed to 1, and the signature
``serving_default`` names the tensors.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.manifest import TensorContract
from trainer.pipeline.start import HIDDEN
from trainer.tasks.task import Floats, Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    Tensors = dict[str, tf.Tensor]

COMPONENTS = 8
PROBABILITIES = "probabilities"
NET = "net"
"""The name before all names of tensors; without it keras would count its models."""
_REPRESENTATIVES = 200
_RIDGE = 0.05

FLOAT, INT8 = "float32", "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """TFLite files by variant, and the outputs that all of them have."""

    files: dict[str, bytes]
    outputs: tuple[TensorContract, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Monitor:
    """Constants of the monitoring outputs: ``hidden @ matrix + offset``."""

    embedding: Floats
    embedding_offset: Floats
    distance: Floats
    distance_offset: Floats


def convert(
    task: Task, model: "keras.Model", x: Floats, variants: tuple[str, ...]
) -> Converted:
    """Convert a fitted net.

    Args:
        task: Names the input and the classes.
        model: The Keras model, samples to logits, with a layer ``hidden``.
        x: Training samples, for the constants and for int8 ranges.
        variants: Of ``float32`` and ``int8``.
    """
    import keras
    import tensorflow as tf

    features = keras.Model(
        model.inputs,
        [model.get_layer(HIDDEN).output, model.outputs[0]],
        name=NET,
    )
    hidden = features.predict(x, batch_size=256, verbose=0)[0]
    monitor = _fit_monitor(np.asarray(hidden, np.float64))
    contract = task.contract.tensor

    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=[
            tf.TensorSpec([1, *contract.shape], tf.float32, name=contract.name)
        ]
    )
    def serve(window: "tf.Tensor") -> "Tensors":
        return _graph(features, monitor, window)

    module = tf.Module()
    # A module finds variables, but not those inside a Keras model.
    module.kept = [variable.value for variable in features.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(
            module,
            folder,
            signatures={"serving_default": serve.get_concrete_function()},
        )
        files = {kind: _write(folder, kind, x) for kind in variants}
    width = monitor.embedding.shape[1]
    outputs = (
        TensorContract(name=PROBABILITIES, shape=[len(task.labels)]),
        TensorContract(name="embedding", shape=[width]),
        TensorContract(name="distance", shape=[1]),
        TensorContract(name="energy", shape=[1]),
    )
    return Converted(files=files, outputs=outputs)


def _graph(
    features: "keras.Model", monitor: _Monitor, window: "tf.Tensor"
) -> "Tensors":
    import tensorflow as tf

    hidden, logits = features(window, training=False)
    away = tf.matmul(hidden, monitor.distance) + monitor.distance_offset
    # A vector along its own direction is its length, without SQRT; and -logsumexp is
    # made without LOG and EXP: tflite-runtime 2.14 lacks their int8 forms.
    direction = tf.nn.l2_normalize(away, axis=1)
    top = tf.reduce_max(logits, axis=1, keepdims=True)
    nearest = tf.reduce_max(tf.nn.log_softmax(logits), axis=1, keepdims=True)
    return {
        PROBABILITIES: tf.nn.softmax(logits),
        "embedding": tf.matmul(hidden, monitor.embedding) + monitor.embedding_offset,
        "distance": tf.reduce_sum(away * direction, axis=1, keepdims=True),
        "energy": nearest - top,
    }


def _fit_monitor(hidden: NDArray[np.float64]) -> _Monitor:
    mean = hidden.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(hidden, rowvar=False))
    values, vectors = values[::-1], vectors[:, ::-1]
    # A ridge keeps directions that hardly vary from drowning all others.
    whitened = vectors / np.sqrt(np.maximum(values, 0) + _RIDGE * values.mean())
    # Signs of eigenvectors are arbitrary; fixed, the same data give the same file.
    whitened *= np.sign(whitened[np.abs(whitened).argmax(axis=0), range(len(mean))])
    first = whitened[:, : min(COMPONENTS, len(mean))]
    return _Monitor(
        embedding=first.astype(np.float32),
        embedding_offset=(-mean @ first).astype(np.float32),
        distance=whitened.astype(np.float32),
        distance_offset=(-mean @ whitened).astype(np.float32),
    )


def _write(folder: str, variant: str, x: Floats) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder)))
    if variant == INT8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _representatives(x)
        # Operations without an int8 kernel stay in float rather than fail.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    return bytes(converter.convert())


def _representatives(x: Floats) -> Callable[[], Iterator[list[Floats]]]:
    places = np.linspace(0, len(x) - 1, min(len(x), _REPRESENTATIVES)).astype(int)

    def samples() -> Iterator[list[Floats]]:
        for place in places:
            yield [x[place : place + 1]]

    return samples
