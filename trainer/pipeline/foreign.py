"""SavedModel folders and Keras files made elsewhere become TFLite files.

Batch is fixed to 1 where the format lets us; a SavedModel keeps its own signature.
Nothing is quantized: a model that shall be is better made so where its data are.
"""

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import DataError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SERVING = "serving_default"
_MISSING_OP = re.compile(r"'tf\.(\w+)' op is neither")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"\w+(Error|Exception): ")
_FAILURES = (
    ValueError,
    TypeError,
    RuntimeError,
    OSError,
    KeyError,
    AttributeError,
)


def convert_saved_model(folder: Path, signature: str) -> bytes:
    """Convert a SavedModel folder.

    Args:
        folder: The folder.
        signature: Which signature devices serve; empty: ``serving_default``, or the
            only one.

    Raises:
        DataError: It cannot be read or converted (``TRAINER-IMPORT-003``), or which
            signature is meant is not known (``-004``).
    """
    import tensorflow as tf

    try:
        keys = list(tf.saved_model.load(str(folder)).signatures)
    except _failures() as error:
        raise _unreadable(folder, error) from error
    key = signature or (SERVING if SERVING in keys or len(keys) != 1 else keys[0])
    if key not in keys:
        raise DataError(
            "TRAINER-IMPORT-004",
            f"{folder} has no signature {key!r}",
            cure=f"--signature: {' or '.join(keys)}" if keys else "save it with one",
        )
    return _convert(folder, folder, key)


def convert_keras(path: Path, shapes: Mapping[str, Sequence[int]]) -> bytes:
    """Convert a ``.keras`` or ``.h5`` file.

    Args:
        path: The file.
        shapes: Of one sample, for inputs whose dimensions are free.

    Raises:
        DataError: It cannot be read or converted (``TRAINER-IMPORT-003``), or a
            dimension is free and no shape is given (``-005``).
    """
    import keras
    import tensorflow as tf

    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        # Keras itself says that there is no such file.
        raise DataError(
            "TRAINER-IMPORT-003",
            f"{path} cannot be read: it is not whole, or no Keras file",
        )
    try:
        model = keras.models.load_model(path, compile=False)
    except _failures() as error:
        raise _unreadable(path, error) from error
    specs = [_spec(one, place, shapes) for place, one in enumerate(model.inputs)]

    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=specs
    )
    def serve(*inputs: "tf.Tensor") -> "dict[str, tf.Tensor]":
        given = inputs[0] if len(inputs) == 1 else list(inputs)
        return _named(model, model(given, training=False))

    module = tf.Module()
    # A module finds variables, but not those inside a Keras model.
    module.kept = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        try:
            tf.saved_model.save(
                module, folder, signatures={SERVING: serve.get_concrete_function()}
            )
        except _failures() as error:
            raise _unreadable(path, error) from error
        return _convert(path, Path(folder), SERVING)


def _spec(
    tensor: Any,  # noqa: ANN401 - a Keras tensor
    place: int,
    shapes: Mapping[str, Sequence[int]],
) -> "tf.TensorSpec":
    import tensorflow as tf

    name = str(getattr(tensor, "name", "") or f"input_{place}")
    shape = list(shapes.get(name, tensor.shape[1:]))
    if any(length is None for length in shape):
        raise DataError(
            "TRAINER-IMPORT-005",
            f"input {name!r} has a free dimension: {shape}",
            cure=f"name its shape: --shape {name}=…",
        )
    return tf.TensorSpec([1, *shape], tensor.dtype, name=name)


def _named(model: "keras.Model", outputs: Any) -> "dict[str, tf.Tensor]":  # noqa: ANN401
    """Return outputs by the names that the model gives them."""
    if isinstance(outputs, dict):
        return outputs
    listed = outputs if isinstance(outputs, list | tuple) else [outputs]
    names = getattr(model, "output_names", None) or [model.layers[-1].name]
    return dict(zip(names, listed, strict=True))


def _convert(source: Path, folder: Path, key: str) -> bytes:
    import tensorflow as tf

    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(folder), signature_keys=[key]
        )
        return bytes(converter.convert())
    except _failures() as error:
        raise DataError(
            "TRAINER-IMPORT-003",
            f"{source} cannot be converted: {_first_line(error)}",
            cure="use operations that TFLite has, or convert it yourself",
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    return (*_FAILURES, tf.errors.OpError, ConverterError)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        "TRAINER-IMPORT-003",
        f"{path} cannot be read: {_first_line(error)}",
        cure="`model.export(FOLDER)` writes what can be imported without your classes",
    )


def _first_line(error: Exception) -> str:
    """Return what an error says, without the places in code that come before it."""
    text = str(error).strip()
    if missing := sorted(set(_MISSING_OP.findall(text))):
        return f"TFLite does not have {', '.join(missing)}"[:300]
    lines = list(filter(None, map(str.strip, _COLOUR.sub("", text).splitlines())))
    said = [n for n, line in enumerate(lines) if _ERROR.match(line)]
    # Keras says in a line of its own where it happened, and then what.
    lines = " ".join(lines[said[0] : said[0] + 2]).splitlines() if said else lines
    return (lines or [type(error).__name__])[0][:300]
