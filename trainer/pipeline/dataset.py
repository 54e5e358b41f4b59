"""What a net is trained on: the task's windows, and what devices uploaded.

Pure but for reading the samples file. Device samples are few beside the original data
and are what a retrain is for, so they weigh more: by the square root of the ratio of
the counts, half-way (in log terms) between a vote a sample and a vote a source. That
is a compromise, not a measured best: in single-seed trials on ``watch`` full balance
gained on the new arm, and lost on the known one with one net but not with another.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainer.errors import DataError
from trainer.tasks.task import Floats, Ints, Task, Texts, Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Samples with class, group and weight; all arrays have the same length."""

    x: Floats
    y: Ints
    group: Texts
    weight: Floats

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def take(self, chosen: np.ndarray) -> "TrainingSet":
        """Return the samples that a mask or an index array chooses."""
        return TrainingSet(
            x=self.x[chosen],
            y=self.y[chosen],
            group=self.group[chosen],
            weight=self.weight[chosen],
        )


def assemble(original: Windows, samples: Windows | None) -> TrainingSet:
    """Join the task's windows and the devices' samples, weighted."""
    weight = np.ones(len(original.x), np.float32)
    if samples is None:
        return TrainingSet(
            x=original.x, y=original.y, group=original.group, weight=weight
        )
    share = max(1.0, float(np.sqrt(len(original.x) / len(samples.x))))
    return TrainingSet(
        x=np.concatenate([original.x, samples.x]),
        y=np.concatenate([original.y, samples.y]),
        group=np.concatenate([original.group, samples.group]),
        weight=np.concatenate([weight, np.full(len(samples.x), share, np.float32)]),
    )


def hold_out_group(data: TrainingSet) -> tuple[TrainingSet, TrainingSet, str]:
    """Split off the last group by name, for choosing between nets.

    Returns:
        What to fit, what to validate on, and the group's name.
    """
    name = str(max(data.group))
    mask = data.group == name
    return data.take(~mask), data.take(mask), name


def shuffle_labels(data: TrainingSet, rng: np.random.Generator) -> TrainingSet:
    """Permute the classes among the samples: a fault drill."""
    return replace(data, y=rng.permutation(data.y))


def read_samples(path: Path, task: Task) -> Windows:
    """Read labelled samples that devices uploaded.

    Raises:
        DataError: The file cannot be read (``TRAINER-DATA-010``), does not have the
            task's shape (``-011``), or holds a label that the task does not have
            (``-012``).
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x = np.asarray(arrays["x"], np.float32)
            label = np.asarray(arrays["label"], np.str_)
            group = np.asarray(arrays["group"], np.str_)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError("TRAINER-DATA-010", f"samples {path}: {error}") from error
    shape = tuple(task.contract.tensor.shape)
    if not len(x) or x.shape[1:] != shape or not len(x) == len(label) == len(group):
        raise DataError(
            "TRAINER-DATA-011",
            f"samples {path}: x is {x.shape}, label {label.shape}, group "
            f"{group.shape}; x must be (n, {', '.join(map(str, shape))}) with n > 0",
        )
    if not np.isfinite(x).all():
        raise DataError("TRAINER-DATA-011", f"samples {path}: a value is not finite")
    unknown = sorted(set(label.tolist()) - set(task.labels))
    if unknown:
        raise DataError(
            "TRAINER-DATA-012",
            f"samples {path}: unknown label {unknown[0]!r}",
            cure=f"known: {', '.join(task.labels)}",
        )
    order = {name: place for place, name in enumerate(task.labels)}
    return Windows(
        x=x, y=np.array([order[name] for name in label.tolist()]), group=group
    )
