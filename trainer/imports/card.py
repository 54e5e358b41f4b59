"""The card of a model made elsewhere: what it is, and what is not known of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_agent.wire.manifest import Provenance, TensorContract
from trainer.gate.foreign import ModelContract

ABOUT = (
    "Imported: made elsewhere, measured here with the device's interpreter. Nobody"
    " tested it on held-out data."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the card tells."""

    name: str
    contract: ModelContract
    rows: int
    metrics: Mapping[str, float]
    provenance: Provenance


def write_card(facts: Facts) -> str:
    """Return the card as markdown."""
    known = (
        f"Its reference profile holds {facts.rows} samples of the given file."
        if facts.rows
        else "No samples were given: nothing is known of what it shall see, so its"
        " drift cannot be watched."
    )
    labels = facts.contract.labels
    classes = f"Classes: {', '.join(labels[:32])}" if labels else "No classes"
    lines = [
        f"# {facts.name}",
        "",
        f"{ABOUT} {known}",
        "",
        f"{classes}{' …' if len(labels) > 32 else ''}.",  # noqa: PLR2004 - enough
        "",
        "| | name | type | shape of a sample |",
        "|---|---|---|---|",
        *_tensors("input", (one.tensor for one in facts.contract.inputs)),
        *_tensors("output", iter(facts.contract.outputs)),
        "",
        *_table("Figures", {key: f"{v:g}" for key, v in facts.metrics.items()}),
        *_table("Settings", facts.provenance.settings),
        *_table("Versions", facts.provenance.versions),
        *_table("Data (sha256)", facts.provenance.data),
    ]
    return "\n".join(lines)


def _tensors(kind: str, tensors: Iterator[TensorContract]) -> Iterator[str]:
    for tensor in tensors:
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        yield f"| {kind} | `{tensor.name}` | {tensor.dtype} | {shape} |"


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    body = [f"| {key} | {value} |" for key, value in sorted(rows.items())]
    return [f"## {title}", "", "| | |", "|---|---|", *body, ""]
