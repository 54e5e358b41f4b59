"""The demo's net, untrained, as the trainer converts it.

``python -m tests.fakes.converted_net FOLDER`` writes ``float32.tflite``,
``int8.tflite``, and ``net.npz`` with the samples and what the net's hidden layer makes
of them. In a process of its own, because TensorFlow is needed.
"""

import sys
from pathlib import Path

import numpy as np

from trainer.pipeline.convert import FLOAT, INT8, convert
from trainer.pipeline.session import start_tensorflow
from trainer.pipeline.start import HIDDEN
from trainer.tasks.registry import open_task

SEED = 3


def main(folder: Path) -> None:
    """Build, convert and write."""
    start_tensorflow(SEED)
    import keras

    task = open_task("watch", {})
    rng = np.random.default_rng(SEED)
    # Recordings differ in where they are and in how much they move.
    place, spread = rng.normal(size=(2, 400, 1, 6))
    x = place + spread * rng.normal(size=(400, 100, 6))
    x = x.astype(np.float32)
    net = task.build(task.student, x)
    hidden = keras.Model(net.inputs, net.get_layer(HIDDEN).output).predict(x, verbose=0)
    for variant, file in convert(task, net, x, (FLOAT, INT8)).files.items():
        (folder / f"{variant}.tflite").write_bytes(file)
    np.savez(folder / "net.npz", x=x, hidden=hidden)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
