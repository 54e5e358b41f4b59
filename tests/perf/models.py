"""The models that the runtime is measured with: made from a seed, int8 inside.

A tiny MLP (1,100 parameters), a DS-CNN for keywords (49 x 10, 24,000) and MobileNetV1
with a quarter of its width (96 x 96, 220,000). They take and give floats, as the
trainer's do. Weights are random: latency does not depend on what a model has learnt,
and nothing here says anything about accuracy.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

SEED = 20
_REPRESENTATIVES = 32
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""MobileNetV1: filters at full width, and stride, of each separable block."""


def make_models(folder: Path) -> dict[str, Path]:
    """Write the three models where they are missing; return their files by name."""
    files = {name: folder / f"{name}.tflite" for name in _MODELS}
    for name, file in files.items():
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_bytes(convert(_MODELS[name]))
            part.replace(file)
    return files


def _mlp() -> "keras.Model":
    from keras import Sequential, layers

    hidden = [layers.Dense(n, activation="relu") for n in (32, 16)]
    return Sequential(
        [layers.Input((16,)), *hidden, layers.Dense(4, activation="softmax")]
    )


def _ds_cnn() -> "keras.Model":
    from keras import Sequential, layers

    first = layers.Conv2D(64, (10, 4), (2, 2), padding="same", activation="relu")
    blocks = [layer for _ in range(4) for layer in _separable(64, 1)]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(12, activation="softmax")]
    return Sequential([layers.Input((49, 10, 1)), first, *blocks, *end])


def _mobilenet() -> "keras.Model":
    from keras import Sequential, layers

    first = layers.Conv2D(8, 3, 2, padding="same", activation="relu6")
    blocks = [
        layer
        for filters, stride in _BLOCKS
        for layer in _separable(filters // 4, stride)
    ]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    return Sequential([layers.Input((96, 96, 3)), first, *blocks, *end])


def _separable(filters: int, stride: int) -> "list[keras.Layer]":
    from keras import layers

    return [
        layers.DepthwiseConv2D(3, stride, padding="same", activation="relu6"),
        layers.Conv2D(filters, 1, activation="relu6"),
    ]


_MODELS: "dict[str, Callable[[], keras.Model]]" = {
    "mlp": _mlp,
    "ds_cnn": _ds_cnn,
    "mobilenet_025": _mobilenet,
}


def convert(make: "Callable[[], keras.Model]") -> bytes:
    """Return an untrained net as a LiteRT file, int8 inside."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    model = make()
    shape = tuple(model.inputs[0].shape[1:])

    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=[tf.TensorSpec([1, *shape], tf.float32, name="x")]
    )
    def serve(x: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return {"probabilities": model(x, training=False)}

    module = tf.Module()
    # A module finds variables, but not those inside a Keras model.
    module.kept = [variable.value for variable in model.variables]
    with TemporaryDirectory() as saved:
        signatures = {"serving_default": serve.get_concrete_function()}
        tf.saved_model.save(module, saved, signatures=signatures)
        return _quantized(saved, shape)


def _quantized(saved: str, shape: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _samples(shape)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _samples(shape: tuple[int, ...]) -> Iterator[list[NDArray[np.float32]]]:
    rng = np.random.default_rng(SEED)
    for _ in range(_REPRESENTATIVES):
        yield [rng.normal(size=(1, *shape)).astype(np.float32)]
