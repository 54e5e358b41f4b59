"""Properties of the rollout engine under any behaviour of its devices."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.rollout.device_facts import DeviceFacts, Outcome
from hub.rollout.judge import outcomes_of
from hub.rollout.machine import RolloutFacts, Step, step
from hub.rollout.plan import Plan, Target, stage_devices, stage_sizes
from hub.rollout.states import BACKWARD, CLOSED, Event, State

SHARES = st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(
    lambda shares: (*sorted(shares), 1.0)
)


@given(total=st.integers(0, 500), shares=SHARES, canary_min=st.integers(1, 20))
def test_stages_never_shrink_and_end_with_everybody(
    total: int, shares: tuple[float, ...], canary_min: int
) -> None:
    """Cumulative sizes rise to the whole fleet."""
    sizes = stage_sizes(total, shares, canary_min)

    assert sizes == sorted(sizes)
    assert sizes[-1] == total


@given(total=st.integers(1, 60), shares=SHARES)
def test_every_device_has_exactly_one_stage(
    total: int, shares: tuple[float, ...]
) -> None:
    """The plan covers the fleet, and stages have the sizes they should."""
    targets = [Target(device=f"d{n}", cohort=str(n % 3)) for n in range(total)]
    plan = stage_devices("r", targets, shares, 1)
    sizes = stage_sizes(total, shares, 1)

    assert len(plan) == total
    for stage, size in enumerate(sizes):
        assert sum(1 for s in plan.values() if s <= stage) == size


FATES = st.sampled_from(
    [
        "ok",
        "fails",
        "never",
        "offline",
        "inconclusive",
        "soft once",
        "soft",
        "late fail",
    ]
)
CLASSES = st.sampled_from(["", "armv7", "x86"])


def _start(  # noqa: PLR0913 - what the test draws
    fates: list[str],
    stages: tuple[float, ...],
    incumbent: int,
    max_failures: int | None,
    classes: list[str],
    *,
    promote_untested: bool,
) -> RolloutFacts:
    names = [f"d{n}" for n in range(len(fates))]
    planned = stage_devices("r", [Target(device=n) for n in names], stages, 1)
    return RolloutFacts(
        rollout="r",
        state=State.DRAFT,
        stage=0,
        stage_started_at=0.0,
        candidate=2,
        incumbent=incumbent,
        signed=True,
        plan=Plan(
            stages=stages,
            devices=planned,
            max_failures=max_failures,
            promote_untested=promote_untested,
            min_labels=0,
            accuracy_drop_max=0.1,
            soak_s=2.0,
            stage_deadline_s=10.0,
        ),
        devices=[
            DeviceFacts(
                device=name,
                stage=planned[name],
                online=fate != "offline",
                release=incumbent,
                phase="IDLE",
                hardware=classes[place % len(classes)],
            )
            for place, (name, fate) in enumerate(zip(names, fates, strict=True))
        ],
        cells=[],
        given={},
    )


def _react(device: DeviceFacts, fate: str) -> DeviceFacts:
    """Let a device do what it is told, as its fate is."""
    if not device.assigned_seq or fate in {"never", "offline"}:
        return device
    if fate == "fails":
        return replace(device, outcome="rolled_back", reported_seq=1)
    if fate == "soft" or (fate == "soft once" and not device.retries):
        return replace(device, outcome="failed", code="AGENT-UPDATE-113")
    good = replace(device, release=2, outcome="committed", code="", reported_seq=1)
    if fate == "inconclusive":
        return replace(good, evidence="inconclusive", detail="12 of 64 samples")
    if fate == "late fail":
        return replace(good, evidence="failed", code="AGENT-UPDATE-111")
    return good


def _carry_out(
    facts: RolloutFacts, decided: Step, now: float, fates: list[str]
) -> RolloutFacts:
    """Return the facts with a step's effects applied and the devices' reactions."""
    given = {
        **facts.given,
        **dict.fromkeys(decided.assign, 2),
        **dict.fromkeys(decided.withdraw, facts.incumbent),
    }
    moved = decided.event is not None and decided.state is not State.HOLD
    left_out = {**facts.plan.left_out, **decided.leave_out}
    devices: list[DeviceFacts] = []
    for device, fate in zip(facts.devices, fates, strict=True):
        name = device.device
        if name in decided.withdraw and device.online:
            device = replace(device, release=facts.incumbent)  # noqa: PLW2901 - as it is now
        elif name not in given or given[name] == 2:
            retries = device.retries + (name in decided.retry)
            seq = 1 if name in given else 0
            again = replace(device, assigned_seq=seq, retries=retries)
            device = _react(again, fate)  # noqa: PLW2901 - as it is now
        devices.append(device)
    return replace(
        facts,
        state=decided.state,
        stage=decided.stage,
        stage_started_at=now if moved else facts.stage_started_at,
        given=given,
        plan=replace(facts.plan, left_out=left_out),
        devices=devices,
    )


@settings(max_examples=250, deadline=None)
@given(
    fates=st.lists(FATES, min_size=1, max_size=14),
    shares=SHARES,
    incumbent=st.sampled_from([0, 1]),
    abort_at=st.none() | st.integers(0, 40),
    max_failures=st.sampled_from([None, 0]),
    classes=st.lists(CLASSES, min_size=1, max_size=3, unique=True),
    promote_untested=st.booleans(),
)
def test_a_rollout_skips_nothing_repeats_nothing_and_takes_everything_back(  # noqa: PLR0913, PLR0917 - what is drawn
    fates: list[str],
    shares: tuple[float, ...],
    incumbent: int,
    abort_at: int | None,
    max_failures: int | None,
    classes: list[str],
    promote_untested: bool,  # noqa: FBT001 - drawn
) -> None:
    """Stages rise by one; nothing is due twice; no class goes on without evidence."""
    facts = _start(
        fates,
        shares,
        incumbent,
        max_failures,
        classes,
        promote_untested=promote_untested,
    )
    for now in range(120):
        aborting = now == abort_at and facts.state not in CLOSED | BACKWARD
        asked = replace(facts, abort_reason="asked" if aborting else "")
        decided = step(asked, float(now))
        assert decided == step(asked, float(now))
        assert decided.stage in {facts.stage, facts.stage + 1}
        assert not set(decided.assign) & set(facts.given)
        assert all(facts.plan.devices[d] <= facts.stage for d in decided.assign)
        assert all(not d.retries for d in facts.devices if d.device in decided.retry)
        if decided.event in {Event.PROMOTED, Event.FINISHED}:
            _assert_evidence(facts, promote_untested=promote_untested)
        facts = _carry_out(facts, decided, float(now), fates)
    if abort_at is not None and abort_at < 1:
        assert facts.state is State.ROLLED_BACK
    if facts.state is State.ROLLED_BACK:
        assert 2 not in facts.given.values()
        assert all(d.release != 2 for d in facts.devices if d.online)
    left_out = facts.plan.left_out
    assert set(left_out) < {d.hardware for d in facts.devices} or not left_out
    if facts.state is State.COMPLETED:
        out = {d.device for d in facts.devices if d.hardware in left_out}
        assert all(facts.given.get(name) != 2 for name in out)
        remaining = [
            f
            for f, d in zip(fates, facts.devices, strict=True)
            if d.hardware not in left_out
        ]
        if len(facts.devices) <= 10 or max_failures == 0:
            assert not {"fails", "soft", "late fail"} & set(remaining)


def _assert_evidence(facts: RolloutFacts, *, promote_untested: bool) -> None:
    """Every class of which a device ended has a conclusive one, or may lack it."""
    outcomes = outcomes_of(facts.devices, 2, facts.plan)
    ended = {Outcome.OK, Outcome.INCONCLUSIVE}
    present = {d.hardware for d in facts.devices if outcomes.get(d.device) in ended}
    shown = {d.hardware for d in facts.devices if outcomes.get(d.device) is Outcome.OK}
    assert present
    if not promote_untested:
        assert present == shown
        assert Outcome.INCONCLUSIVE not in outcomes.values()
