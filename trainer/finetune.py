"""Going on from the incumbent: where a retrain starts, and what its patch would take.

A bundle without weights (an imported model, or one of an older trainer) is no error:
the net is then trained anew, and the bundle says so. Called by the job.
"""

from dataclasses import dataclass

from edge_agent.delta.build import WORTH_RATIO, build_patch
from trainer.bundle import OpenBundle
from trainer.pipeline.start import Start
from trainer.settings import Settings

PATCH_BYTES, PATCH_RATIO = "delta.bytes", "delta.ratio"
"""Figures of a bundle: what devices that run the incumbent would fetch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """The incumbent: its release number and its bundle."""

    release: int
    opened: OpenBundle


def find_start(settings: Settings, rival: Rival | None) -> tuple[Start | None, str]:
    """Return where training starts (``None``: anew), and why so if that was asked."""
    scope = settings.finetune_scope
    if scope == "none":
        return None, ""
    if rival is None:
        return None, "there is no incumbent to go on from"
    weights = rival.opened.weights
    if weights is None:
        return None, f"release {rival.release} has no weights to go on from"
    return Start(weights=weights, scope=scope), ""


def forecast(rival: Rival, model: bytes) -> dict[str, float]:
    """Return how large the patch from the incumbent's model to this one is."""
    built = build_patch(rival.opened.model, model)
    return {
        PATCH_BYTES: float(len(built.data)),
        PATCH_RATIO: round(len(built.data) / len(model), 4),
    }


def tell_patch(release: int, metrics: dict[str, float]) -> str:
    """Return the forecast as a line for people; empty if there is none."""
    if PATCH_BYTES not in metrics:
        return ""
    line = (
        f"delta from release {release}: {metrics[PATCH_BYTES]:.0f} bytes, "
        f"{metrics[PATCH_RATIO]:.1%} of the model"
    )
    if metrics[PATCH_RATIO] > WORTH_RATIO:
        line += "; too many, devices fetch the whole file"
    return line
