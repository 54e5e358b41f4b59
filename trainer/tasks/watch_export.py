"""Writes the wearers' recordings as files that a device can replay as its sensor.

One npz a wearer, arm and half: an array ``(rows, axes)`` a recording, named as
``labels.json`` names it. ``split.json`` tells who is in which role.
"""

from pathlib import Path

import msgspec
import numpy as np

from trainer.errors import DataError
from trainer.tasks.task import Floats
from trainer.tasks.watch import GATE, LABELS, TRAIN, WEARERS, halves
from trainer.tasks.watch_source import load_recordings


def export_watch(out: Path) -> dict[str, int]:
    """Write the wearers' data to ``out``; return counts of files and recordings.

    Raises:
        DataError: The data is not there, or ``out`` cannot be written.
    """
    files: dict[str, dict[str, Floats]] = {}
    labels: dict[str, str] = {}
    for recording in load_recordings():
        if recording.person not in WEARERS:
            continue
        for half, (name, rows) in zip(
            ("first", "second"), halves(recording), strict=True
        ):
            files.setdefault(f"{recording.person}-{recording.arm}-{half}.npz", {})[
                name
            ] = rows
            labels[name] = LABELS[recording.exercise]
    split = {"train": TRAIN, "wearers": WEARERS, "gate": GATE}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, arrays in files.items():
            np.savez(out / file, allow_pickle=False, **arrays)
        for file, content in (("labels.json", labels), ("split.json", split)):
            encoded = msgspec.json.encode(content)
            (out / file).write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
    except OSError as error:
        raise DataError("TRAINER-DATA-004", f"cannot write {out}: {error}") from error
    return {"files": len(files), "recordings": len(labels)}
