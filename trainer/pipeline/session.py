"""Starting TensorFlow: quiet, with few threads, with fixed seeds."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version

NATIVE_LOG = "tensorflow.log"
THREADS = 2


def start_tensorflow(seed: int) -> None:
    """Import and set up TensorFlow, for this process and for good.

    Few threads, because a trainer shares its machine with a hub.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    warnings.simplefilter("ignore")
    with _without("sklearn"):
        import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    with contextlib.suppress(RuntimeError):  # already running: keep what it has
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    # Layers are numbered from the start, so that a job gives its tensors the same
    # names whatever ran before it: names are part of the file.
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Make a package look absent while another one is imported.

    Keras wraps scikit-learn where it finds it, which costs seconds that nobody uses.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def versions() -> dict[str, str]:
    """Return the versions that shape a trained model."""
    return {name: version(name) for name in ("tensorflow", "keras", "numpy")}
