"""Choosing how the student learns: from a teacher, or plainly.

Distillation often does not help a tiny net, so it must win: teacher, plain twin and
distilled twin are fitted without one group (a person), the twins are compared on that
group, and only then is the shipped net fitted on everybody by the winner's way.
"""

from dataclasses import dataclass

import numpy as np

from trainer.pipeline.dataset import TrainingSet, hold_out_group
from trainer.pipeline.train import Fitter, Recipe, Ticker, one_hot
from trainer.tasks.task import Floats, Task

TEMPERATURE = 2.0
SOFT_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the comparison of the twins on the group ``held_out`` told."""

    held_out: str
    teacher: float
    plain: float
    distilled: float

    @property
    def distil(self) -> bool:
        """Whether the distilled twin won, and its teacher has something to teach."""
        return self.distilled > self.plain and self.teacher > self.plain


def fit_student(
    student: Fitter,
    data: TrainingSet,
    recipe: Recipe,
    teacher_epochs: int,
    tick: Ticker,
) -> Trial | None:
    """Fit the student; return the trial if there was a teacher."""
    task = student.task
    targets = one_hot(data, len(task.labels))
    trial = None
    if teacher_epochs and len(set(data.group.tolist())) > 1:
        trial, targets = _try_twins(
            task,
            data,
            (student, Fitter(task, task.teacher, data.x)),
            (
                Recipe(
                    epochs=max(1, recipe.epochs // 2),
                    learning_rate=recipe.learning_rate,
                    seed=recipe.seed,
                ),
                Recipe(
                    epochs=teacher_epochs,
                    learning_rate=recipe.learning_rate / 2,
                    seed=recipe.seed,
                ),
            ),
            lambda done: tick(done * 0.7),
        )
    start = 0.7 if trial else 0.0
    student.fit(data, targets, recipe, lambda done: tick(start + (1 - start) * done))
    return trial


def _try_twins(
    task: Task,
    data: TrainingSet,
    nets: tuple[Fitter, Fitter],
    recipes: tuple[Recipe, Recipe],
    tick: Ticker,
) -> tuple[Trial, Floats]:
    student, teacher = nets
    fit, held_out, group = hold_out_group(data)
    hard = one_hot(fit, len(task.labels))
    teacher.fit(fit, hard, recipes[1], lambda done: tick(0.6 * done))
    soft = soften(hard, teacher.logits(fit.x))
    student.fit(fit, hard, recipes[0], lambda done: tick(0.6 + 0.2 * done))
    plain = student.accuracy(held_out)
    student.fit(fit, soft, recipes[0], lambda done: tick(0.8 + 0.2 * done))
    trial = Trial(
        held_out=group,
        teacher=teacher.accuracy(held_out),
        plain=plain,
        distilled=student.accuracy(held_out),
    )
    everybody = one_hot(data, len(task.labels))
    if trial.distil:
        everybody = soften(everybody, teacher.logits(data.x))
    return trial, everybody


def soften(hard: Floats, logits: Floats) -> Floats:
    """Mix true classes with a teacher's softened probabilities (Hinton et al., 2015).

    Args:
        hard: Shares of the true classes, shape ``(n, classes)``.
        logits: The teacher's, same shape.
    """
    scaled = logits / TEMPERATURE
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray((1 - SOFT_SHARE) * hard + SOFT_SHARE * shares, np.float32)
