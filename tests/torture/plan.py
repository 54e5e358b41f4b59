"""What is killed, and when: drawn from the seed before anything runs."""

import random
from dataclasses import dataclass

AGENT, HUB, BROKER = "agent", "hub", "broker"
_SHARES = ((0.60, AGENT), (0.85, HUB), (1.0, BROKER))
SHORTEST_S, LONGEST_S = 0.1, 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """After ``wait_s``, the process ``target`` is killed; ``device`` counts from 0."""

    wait_s: float
    target: str
    device: int


def draw(seed: int, kills: int, devices: int, *, persistence: bool) -> list[Kill]:
    """Return the kills of a run; the same arguments give the same kills."""
    dice = random.Random(f"{seed}/{devices}/{persistence}")
    return [_draw_one(dice, devices) for _ in range(kills)]


def _draw_one(dice: random.Random, devices: int) -> Kill:
    wait_s, share = dice.uniform(SHORTEST_S, LONGEST_S), dice.random()
    target = next(name for limit, name in _SHARES if share < limit)
    return Kill(wait_s=wait_s, target=target, device=dice.randrange(devices))
