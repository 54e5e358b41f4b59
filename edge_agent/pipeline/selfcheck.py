"""Whether the models that are served still infer: the worker's half of the watchdog.

Each one is given a sample that keeps its contract, through its own owner thread. The
answer is nobody's: it enters no window, no figure and no ring.
"""

import contextlib

from edge_agent.errors import ModelError
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.runtime.telling import trial_sample

CHECK_S = 2.4
"""How long one sample may hold a model; two models fit into the asker's deadline."""


def check_ladder(ladder: Ladder) -> None:
    """Let the active and the previous model infer a sample.

    Raises:
        ModelError: The active model fails. That the previous one does is found out
            when it is needed.
        WorkerError: A model hangs (``AGENT-WORKER-013``).
    """
    if ladder.active is not None:
        _check(ladder.active)
    if ladder.previous is not None:
        with contextlib.suppress(ModelError):
            _check(ladder.previous)


def _check(loaded: Loaded) -> None:
    loaded.owner.check(trial_sample(loaded.inputs), timeout_s=CHECK_S)
