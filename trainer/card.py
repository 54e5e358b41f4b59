"""The model card: a page of markdown for people, written from the bundle's facts."""

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.wire.manifest import GateReport, Provenance
from trainer.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a card tells; ``reason`` says how the shipped file was chosen.

    ``notes`` are sentences about what the gate measured beside its checks.
    """

    name: str
    task: Task
    variant: str
    reason: str
    metrics: Mapping[str, float]
    gate: GateReport
    notes: tuple[str, ...] = ()
    provenance: Provenance


def write_card(facts: Facts) -> str:
    """Return the card."""
    contract, gate = facts.task.contract, facts.gate
    shape = " x ".join(map(str, contract.tensor.shape))
    about = (
        f"Input: {shape} float32 ({', '.join(contract.axes)}) at "
        f"{contract.rate_hz:g} Hz. Classes: {', '.join(facts.task.labels)}."
    )
    lines = [
        f"# {facts.name}",
        "",
        f"Task `{facts.task.name}`, variant `{facts.variant}`. {facts.reason}.",
        "",
        about,
        "",
        f"## Gate: {'passed' if gate.ok else 'refused'}",
        "",
        "Measured with the device's interpreter on people who were never trained on.",
        "",
        "| check | observed | limit | n | holds | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {c.name} | {c.observed:g} | {c.limit:g} | {c.n} | "
            f"{'yes' if c.ok else 'no'} | {c.detail} |"
            for c in gate.checks
        ),
        "",
        *(line for note in facts.notes for line in (note, "")),
        *_table("Figures", {k: f"{v:g}" for k, v in facts.metrics.items()}),
        *_table("Settings", facts.provenance.settings),
        *_table("Seeds", {k: str(v) for k, v in facts.provenance.seeds.items()}),
        *_table("Versions", facts.provenance.versions),
        *_table("Data (sha256)", facts.provenance.data),
    ]
    return "\n".join(lines)


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    body = [f"| {key} | {value} |" for key, value in sorted(rows.items())]
    return [f"## {title}", "", "| | |", "|---|---|", *body, ""]
