"""A link in memory whose faults a test decides."""

from edge_agent.base.mqtt_version import Limits
from edge_agent.link.port import LinkEvent


class ScriptedLink:
    """Takes up to ``window`` messages, which stay in ``sent`` until they are taken."""

    def __init__(self, window: int = 1000) -> None:
        """Start connected."""
        self.connected = True
        self.window = window
        self.sent: list[tuple[str, bytes]] = []
        self.limits = Limits()

    def fits(self, topic: str, payload: bytes) -> bool:
        """Compare with ``limits``, which a test may set."""
        return self.limits.fits(topic, payload)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Take a message, unless down or full."""
        del retain
        if not self.connected or len(self.sent) >= self.window:
            return False
        self.sent.append((topic, payload))
        return True

    def poll(self, timeout_s: float) -> LinkEvent | None:
        """Return nothing: tests call the relay themselves."""
        del timeout_s
        return None


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Start at one."""
        self.now = 1.0

    def wall(self) -> float:
        """Return the time."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now
