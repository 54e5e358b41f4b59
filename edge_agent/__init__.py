"""The device: runs models locally, buffers telemetry, follows signed assignments.

``from edge_agent import Engine`` embeds a model in an application. Until somebody asks
for it this file imports nothing, so that the hub and the trainer can use
:mod:`edge_agent.wire` and :mod:`edge_agent.sketch` without loading the device.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> object:
    """Import the engine when it is asked for.

    Raises:
        AttributeError: It is something else.
    """
    if name == "Engine":
        from edge_agent.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
