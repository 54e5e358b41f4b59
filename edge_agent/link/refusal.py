"""What a broker's refusal of a message means, and what to do about it (MQTT 5)."""

from dataclasses import dataclass

from edge_agent.link.port import Refused

NOT_AUTHORIZED = 0x87
TOO_LARGE = 0x95
QUOTA_EXCEEDED = 0x97


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A stable code, what happened, and the cure."""

    code: str
    text: str
    cure: str

    def facts(self) -> dict[str, str]:
        """Return it as the fields of a log line."""
        return {"code": self.code, "error": self.text, "cure": self.cure}


def explain(refused: Refused) -> Refusal:
    """Return code, text and cure of a refusal."""
    text = f"the broker refuses {refused.topic}: {refused.reason}"
    if refused.number == NOT_AUTHORIZED:
        return Refusal(
            code="AGENT-LINK-002",
            text=text,
            cure="let this device write its topics in the broker's access rules"
            " (hub broker config writes them), or correct device.id",
        )
    if refused.number == QUOTA_EXCEEDED:
        return Refusal(
            code="AGENT-LINK-003",
            text=text,
            cure="raise the broker's quota for this device; what it holds is kept",
        )
    if refused.number == TOO_LARGE:
        return Refusal(
            code="AGENT-LINK-004",
            text=f"{text} ({refused.size_bytes} bytes)",
            cure="raise the broker's largest packet or message size; smaller batches"
            " are sent where more than one record is in one",
        )
    return Refusal(
        code="AGENT-LINK-005",
        text=f"{text} (reason 0x{refused.number:02x})",
        cure="the broker's log says why; what was refused is kept and sent again",
    )
