"""All tasks by name: explicit, so that a reader finds them and nothing is scanned."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from trainer.errors import JobError
from trainer.tasks.task import Task
from trainer.tasks.watch import open_watch

TASKS: Mapping[str, Callable[[Mapping[str, str]], Task]] = MappingProxyType(
    {"watch": open_watch}
)


def open_task(name: str, settings: Mapping[str, str]) -> Task:
    """Return the task ``name`` with a job's settings.

    Raises:
        JobError: There is no such task (``TRAINER-JOB-002``), or it refuses the
            settings.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        raise JobError(
            "TRAINER-JOB-002",
            f"there is no task {name!r}",
            cure=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(TASKS)}",
        )
    return TASKS[name](settings)
