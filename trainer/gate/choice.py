"""Which variant is shipped: the float one, unless another earns it. Pure.

Small nets are often slower in int8, so nothing is assumed. Accuracy here is on
training people (quantization does not overfit), never on the gate's. Agreement needs no
labels, so it is measured on the gate's people too: what the gate would refuse for it is
not chosen.
"""

from dataclasses import dataclass

from trainer.gate.verdict import Limits

ACCURACY_TIE = 0.005
AGREEMENT_MIN = 0.98
HELD_AGREEMENT_MIN = Limits().agreement_min
LATENCY_TIE = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What was measured of one converted file; ``held_agreement``: on held-out data."""

    name: str
    bytes: int
    accuracy: float
    agreement: float
    latency_us: float
    held_agreement: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant to ship, and why."""

    variant: str
    reason: str


def choose(base: Variant, others: tuple[Variant, ...], keep: str = "") -> Choice:
    """Choose between the float variant ``base`` and ``others``.

    Another one wins if it is clearly more accurate, or as accurate, in agreement,
    not slower, and faster or smaller. The variant ``keep``, which the incumbent has,
    wins if it is as accurate and in agreement: what devices fetch is then a patch,
    where another variant would be a whole file, for a few microseconds.
    """
    kept = [v for v in (base, *others) if v.name == keep and _may_stay(base, v)]
    if kept:
        return Choice(variant=keep, reason=f"{keep} ships, as the incumbent does")
    best, reasons = base, []
    for other in others:
        verdict = _verdict(base, other)
        if other.held_agreement < HELD_AGREEMENT_MIN:
            verdict = False, f"agrees on {other.held_agreement:.1%} of held-out data"
        reasons.append(f"{other.name}: {verdict[1]}")
        if verdict[0] and (best is base or other.latency_us < best.latency_us):
            best = other
    text = "; ".join(reasons) or "no other variant was made"
    return Choice(variant=best.name, reason=f"{best.name} ships; {text}")


def _may_stay(base: Variant, kept: Variant) -> bool:
    return (
        kept.accuracy >= base.accuracy - ACCURACY_TIE
        and kept.agreement >= AGREEMENT_MIN
        and kept.held_agreement >= HELD_AGREEMENT_MIN
    )


def _verdict(base: Variant, other: Variant) -> tuple[bool, str]:
    gain = other.accuracy - base.accuracy
    ratio = other.latency_us / base.latency_us
    size = other.bytes / base.bytes
    figures = f"{gain * 100:+.1f} points, {ratio:.2f}x latency, {size:.2f}x bytes"
    if gain > ACCURACY_TIE:
        return True, f"more accurate ({figures})"
    if gain < -ACCURACY_TIE:
        return False, f"less accurate ({figures})"
    if other.agreement < AGREEMENT_MIN:
        return False, f"agrees on {other.agreement:.1%} only ({figures})"
    if ratio > LATENCY_TIE:
        return False, f"slower ({figures})"
    if ratio < 1 / LATENCY_TIE or size < 1:
        return True, f"as accurate, cheaper ({figures})"
    return False, f"no cheaper ({figures})"
