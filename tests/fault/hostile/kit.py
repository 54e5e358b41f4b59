"""All attempts, and the table of them that stands in SECURITY.md."""

from tests.fault.hostile import (
    strangers,
    wild_batches,
    wild_control,
    wild_profiles,
    wild_sessions,
)
from tests.fault.hostile.outcome import ATTEMPTS

__all__ = ["ATTEMPTS", "security_table"]

MODULES = (wild_profiles, wild_batches, wild_control, wild_sessions, strangers)
TEST = "test_no_attempt_harms_the_hub_or_the_honest"
BEGIN, END = "<!-- hostile: tests/fault/hostile/kit.py -->", "<!-- end of hostile -->"


def security_table() -> str:
    """Return the attempts as SECURITY.md has them."""
    lines = ["| a hostile device sends | it is | test |", "|---|---|---|"]
    for name, one in ATTEMPTS.items():
        right = " or ".join(one.right)
        lines.append(f"| {one.sends} | {right} | `{TEST}[{name}]` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(security_table())  # noqa: T201 - this is its purpose
