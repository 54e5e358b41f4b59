"""Another hub on the same broker: recognised, made room for, and said.

Two clients with one client id throw each other out without end. MQTT 5 has a name for
it (reason 0x8E, session taken over); 3.1.1 and mosquitto 2.0 only close, so several
connections in a row that were accepted, did not last, and could be made again at once
are taken for it: a broker that dies cannot be reached for a moment. Each hub
then waits longer and longer, by chance, before it comes back: the broker and its
sessions get peace, and the one that stays serves. A hub with another root shares topics
instead of the id: its retained metadata is signed by another root. Pure but for chance;
owned by :mod:`hub.link`.
"""

import logging
import random

import msgspec

from edge_agent.wire.control import TufBundle

log = logging.getLogger(__name__)

LINK_RIVAL = "link.rival"
TAKEN_OVER = 0x8E
"""DISCONNECT's reason in MQTT 5."""
SHORT_S = 5.0
"""Without a reason: an accepted connection that ends sooner counts."""
SHORT_IN_A_ROW = 5
WAIT_MIN_S = 1.0
WAIT_MAX_S = 60.0
_FIRST = "1.root.json"
PEACE_S = 600.0
"""After a connection that lasted so long, the next end is a new story."""
CURE = (
    "stop one of the two; or give each its own broker. Two processes of one hub"
    " need their own --role and --shard"
)


def say_rival(text: str) -> None:
    """Log what was found of another hub, with its cure; nothing for ""."""
    if text:
        facts = {"code": "HUB-LINK-007", "reason": text, "cure": CURE}
        log.error(LINK_RIVAL, extra=facts)


class Rivals:
    """Counts how often another client took the session; one thread uses it."""

    def __init__(self, client_id: str) -> None:
        """Begin with nobody else there."""
        self._client_id = client_id
        self._times = 0
        self._short = 0
        self._said = False
        self._root_said = ""

    @property
    def wait_s(self) -> float:
        """How long to stay away, by chance between a half and all of the backoff."""
        if not self._times:
            return 0.0
        most = min(WAIT_MIN_S * 2 ** min(self._times - 1, 10), WAIT_MAX_S)
        return random.uniform(most / 2, most)  # noqa: S311 - no secret

    def note_unreachable(self) -> None:
        """Take note that the broker was away: that explains what ended before."""
        self._short = 0

    def note_end(self, reason: int | None, lived_s: float) -> str:
        """Take note of how an accepted connection ended.

        Args:
            reason: MQTT 5's reason; ``None``: the broker only closed.
            lived_s: How long it had lasted.

        Returns:
            What to tell people now; "": nothing, or nothing new.
        """
        if lived_s > PEACE_S:
            self._times, self._short, self._said = 0, 0, False
        self._short = self._short + 1 if lived_s < SHORT_S else 0
        fits = self._times or self._short >= SHORT_IN_A_ROW
        if reason == TAKEN_OVER or (reason is None and fits):
            self._times += 1
        # Once may be our own last process, whose connection had not ended yet.
        if self._times > 1 and not self._said:
            self._said = True
            sure = "uses" if reason == TAKEN_OVER else "seems to use"
            return f"another hub {sure} this broker as {self._client_id!r} (client id)"
        return ""

    def note_metadata(self, payload: bytes, own_root: bytes) -> str:
        """Compare the first root of the broker's retained metadata with the hub's own.

        Returns:
            What to tell people now; "": it is our own, or it was said.
        """
        try:
            theirs = msgspec.json.decode(payload, type=TufBundle).files.get(_FIRST)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        if theirs is None or theirs.encode() == own_root or theirs == self._root_said:
            return ""
        self._root_said = theirs
        return "another hub, with another root, publishes its metadata on this broker"
