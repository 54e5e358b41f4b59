"""Settings and tasks of a job: text in, typed values or a helpful error out."""

import pytest

from trainer.errors import JobError
from trainer.job import plan_of
from trainer.settings import Settings
from trainer.tasks.registry import open_task


def test_an_unknown_setting_names_the_nearest() -> None:
    """The error names the key and what was probably meant."""
    with pytest.raises(JobError) as caught:
        open_task("watch", {"epoch": "3"})
    assert caught.value.code == "TRAINER-JOB-003"
    assert "'epoch'" in caught.value.text
    assert "'epochs'" in caught.value.cure


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "many"),
        ("epochs", "0"),
        ("arms", "third"),
        ("shuffle_labels", "maybe"),
        ("jitter_deg", "180"),
    ],
)
def test_a_value_out_of_bounds_is_refused(key: str, value: str) -> None:
    """A value that does not fit is an error that names the key."""
    with pytest.raises(JobError) as caught:
        open_task("watch", {key: value})
    assert caught.value.code == "TRAINER-JOB-004"
    assert key in caught.value.text


def test_an_unknown_task_names_the_nearest() -> None:
    """The error names the task that was probably meant."""
    with pytest.raises(JobError) as caught:
        open_task("wacth", {})
    assert caught.value.code == "TRAINER-JOB-002"
    assert "'watch'" in caught.value.cure


def test_settings_become_typed() -> None:
    """Text becomes numbers, and arms become trained segments."""
    task = open_task("watch", {"epochs": "3", "arms": "both", "teacher_epochs": "0"})
    assert task.settings.epochs == 3
    assert task.settings.teacher_epochs == 0
    assert task.trained_segments == ("right", "left")


def test_plans_follow_the_kind_of_job() -> None:
    """First models get a teacher, retrained ones do not, drills are one epoch."""
    first = plan_of(Settings(), retrain=False)
    again = plan_of(Settings(), retrain=True)
    drill = plan_of(Settings(shuffle_labels="yes"), retrain=False)
    assert first.teacher_epochs > 0
    assert again.teacher_epochs == 0
    assert (drill.epochs, drill.teacher_epochs, drill.variants) == (1, 0, ("float32",))
    assert plan_of(Settings(teacher_epochs=4), retrain=True).teacher_epochs == 4


def test_the_scope_of_a_finetune_is_a_setting() -> None:
    """It has a dot in its name, and a wrong one is refused."""
    task = open_task("watch", {"finetune.scope": "bn_head"})
    assert task.settings.finetune_scope == "bn_head"
    with pytest.raises(JobError) as caught:
        open_task("watch", {"finetune.scope": "tail"})
    assert caught.value.code == "TRAINER-JOB-004"


def test_only_a_full_finetune_learns_slowly_by_itself() -> None:
    """Small steps keep the patch small; who sets a rate gets it."""
    full = Settings(finetune_scope="full")
    assert plan_of(full, retrain=True, goes_on=True).learning_rate == 0.0003
    assert plan_of(full, retrain=True, goes_on=False).learning_rate == 0.003
    head = Settings(finetune_scope="head")
    assert plan_of(head, retrain=True, goes_on=True).learning_rate == 0.003
    chosen = Settings(finetune_scope="full", learning_rate=0.01)
    assert plan_of(chosen, retrain=True, goes_on=True).learning_rate == 0.01
