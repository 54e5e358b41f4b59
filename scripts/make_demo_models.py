"""Make the demo's models that tests load: ``tests/data/demo/*.tflite``.

Usage: ``python scripts/make_demo_models.py [FOLDER]`` (needs the trainer's extra; half
a minute). ``first`` is the task ``watch``'s net trained on right arms; ``head``,
``bn_head`` and ``full`` go on from it with left arms too, ``anew`` forgets it. They are
what ``scripts/bench delta`` makes of the demo's net, and what the trainer ships; the
device's tests load them with both runtimes. The same TensorFlow version makes the same
bytes.
"""

import sys
from pathlib import Path

from tests.perf.delta import FLOAT, INT8, METHODS, SEED, Data, Net
from trainer.pipeline.session import start_tensorflow
from trainer.tasks.registry import open_task

KEPT = {
    "head": (INT8,),
    "bn_head": (FLOAT, INT8),
    "full_3e-4": (INT8,),
    "anew": (FLOAT, INT8),
}
"""Variants by what was trained; of ``full`` the rate that is the trainer's default."""


def main(folder: Path) -> None:
    """Write the models into ``folder``."""
    start_tensorflow(SEED)
    data = Data(open_task("watch", {}))
    net = Net("demo", data.task.student, data)
    _write(folder, "first", net.first)
    for method in METHODS:
        if method.name in KEPT:
            _, made = net.train(data.after, method.rate, method.scope)
            kept = {variant: made[variant] for variant in KEPT[method.name]}
            _write(folder, method.name.split("_3")[0], kept)


def _write(folder: Path, name: str, files: dict[str, bytes]) -> None:
    for variant, file in files.items():
        (folder / f"{name}.{variant}.tflite").write_bytes(file)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/demo"))
