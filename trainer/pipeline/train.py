"""Fitting a net. One :class:`Fitter` compiles once and fits as often as it is asked.

Compiling takes longer than fitting such small nets, so twins and the final net share
one fitter: each fit starts from the same initial weights (new ones, or those of the
incumbent) and an empty optimizer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.pipeline.dataset import TrainingSet
from trainer.pipeline.start import Start, begin_from
from trainer.tasks.task import Floats, NetParams, Task

BATCH = 64
_STEPS_PER_CALL = 10
_FLOOR = 0.03

Ticker = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and how fast to learn; the rate falls along a cosine."""

    epochs: int
    learning_rate: float
    seed: int


class Fitter:
    """A compiled net of one size."""

    def __init__(
        self, task: Task, params: NetParams, x: Floats, start: Start | None = None
    ) -> None:
        """Build the net, with preprocessing fitted on ``x`` unless it has a start.

        ``problem`` tells why it does not begin from its start, if it does not.
        """
        import keras

        self.task = task
        self.model: Any = task.build(params, x)
        self.problem = begin_from(self.model, start) if start else ""
        self._initial = self.model.get_weights()
        self.model.compile(
            optimizer=keras.optimizers.Adam(),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            steps_per_execution=_STEPS_PER_CALL,
        )

    def fit(
        self, data: TrainingSet, targets: Floats, recipe: Recipe, tick: Ticker
    ) -> None:
        """Fit from the start to ``targets`` ``(n, classes)``, a share for each class.

        Each epoch sees each sample once, varied anew. ``tick`` gets the share done.
        """
        import keras

        keras.utils.set_random_seed(recipe.seed)
        rng = np.random.default_rng(recipe.seed)
        self._reset()
        order = _order(len(data), recipe.epochs, rng)
        steps = len(order) // BATCH

        def before(step: int, logs: object = None) -> None:  # noqa: ARG001
            done = step / steps
            shape = _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
            self.model.optimizer.learning_rate = recipe.learning_rate * shape
            tick(done)

        self.model.fit(
            self.task.augment(data.x[order], rng),
            targets[order],
            sample_weight=data.weight[order],
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=before)],
        )

    def logits(self, x: Floats) -> Floats:
        """Return the net's logits, shape ``(n, classes)``."""
        return np.asarray(self.model.predict(x, batch_size=256, verbose=0), np.float32)

    def accuracy(self, data: TrainingSet) -> float:
        """Return the share of samples whose class is predicted."""
        return float((self.logits(data.x).argmax(axis=1) == data.y).mean())

    def _reset(self) -> None:
        self.model.set_weights(self._initial)
        for variable in self.model.optimizer.variables:
            if not variable.path.endswith("learning_rate"):
                variable.assign(np.zeros(variable.shape, variable.dtype))


def one_hot(data: TrainingSet, classes: int) -> Floats:
    """Return the classes as shares: 1 for the true one."""
    return np.eye(classes, dtype=np.float32)[data.y]


def _order(n: int, epochs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return sample indices, epoch after epoch, in whole compiled calls.

    A last smaller batch would be compiled for itself.
    """
    call = BATCH * _STEPS_PER_CALL
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    if len(order) < call:
        return np.resize(order, call)
    return order[: len(order) // call * call]
