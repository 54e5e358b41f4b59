"""Whether a file survives being loaded, tried in a process of its own.

A damaged file can end the process that loads it: one in four did on ``tflite-runtime``
2.14, three in ten thousand on LiteRT 2.3. What a device activates has passed its
self-test; a file that somebody names has not, so on the older runtime it is tried
first. ``python -m edge_agent.runtime.trial`` reads a model from its standard input,
loads and invokes it, and exits with 0, or prints what is wrong.
"""

import sys

from edge_agent.base.children import end_with_parent, environment_of_child
from edge_agent.base.installed import installed_runtime
from edge_agent.errors import ModelError
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import UNLOADABLE

TRIAL_S = 60.0
OLDER = "tflite-runtime"


def must_be_tried() -> bool:
    """Tell whether this device's runtime is one that damaged files end."""
    return installed_runtime().startswith(OLDER)


def try_out(data: bytes) -> None:
    """Load and invoke a model in another process.

    Raises:
        ModelError: It does not load, or ends its process (``AGENT-MODEL-001``).
    """
    import subprocess  # A worker's files are the device's own: it never comes here.

    try:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent.runtime.trial"],
            input=data,
            capture_output=True,
            timeout=TRIAL_S,
            check=False,
            env=environment_of_child(),
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            UNLOADABLE, f"model did not load within {TRIAL_S:g} s"
        ) from error
    if done.returncode:
        told = done.stdout.decode(errors="replace").strip()
        why = told or f"its process ended with {done.returncode}"
        raise ModelError(UNLOADABLE, f"model does not load: {why}")


def main() -> int:
    """Try the model on standard input; return the exit code."""
    end_with_parent()
    try:
        load_model(sys.stdin.buffer.read()).close()
    except ModelError as error:
        print(error.text)  # noqa: T201 - for the process that asked
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
