"""Properties of the rollout engine under any behaviour of its devices."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.rollout.judge import DeviceFacts
from hub.rollout.machine import RolloutFacts, step
from hub.rollout.plan import Plan, Target, stage_devices, stage_sizes
from hub.rollout.states import BACKWARD, CLOSED, State

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


FATES = st.sampled_from(["ok", "fails", "never", "offline"])


def _start(fates: list[str], stages: tuple[float, ...], incumbent: int) -> RolloutFacts:
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
            max_failures=0,
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
            )
            for name, fate in zip(names, fates, strict=True)
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
    return replace(device, release=2, outcome="committed", reported_seq=1)


@settings(max_examples=150, deadline=None)
@given(
    fates=st.lists(FATES, min_size=1, max_size=8),
    shares=SHARES,
    incumbent=st.sampled_from([0, 1]),
    abort_at=st.none() | st.integers(0, 40),
)
def test_a_rollout_skips_nothing_repeats_nothing_and_takes_everything_back(
    fates: list[str],
    shares: tuple[float, ...],
    incumbent: int,
    abort_at: int | None,
) -> None:
    """Stages rise by one; after effects nothing is due twice; failure ends it all."""
    facts = _start(fates, shares, incumbent)
    fate_of = dict(zip((d.device for d in facts.devices), fates, strict=True))
    for now in range(120):
        aborting = now == abort_at and facts.state not in CLOSED | BACKWARD
        decided = step(
            replace(facts, abort_reason="asked" if aborting else ""), float(now)
        )
        assert decided == step(
            replace(facts, abort_reason="asked" if aborting else ""), float(now)
        )
        assert decided.stage in {facts.stage, facts.stage + 1}
        assert not set(decided.assign) & set(facts.given)
        assert all(facts.plan.devices[d] <= facts.stage for d in decided.assign)
        given_now = {
            **facts.given,
            **dict.fromkeys(decided.assign, 2),
            **dict.fromkeys(decided.withdraw, incumbent),
        }
        moved = decided.event is not None and decided.state is not State.HOLD
        facts = replace(
            facts,
            state=decided.state,
            stage=decided.stage,
            stage_started_at=float(now) if moved else facts.stage_started_at,
            given=given_now,
            devices=[
                replace(d, release=incumbent)
                if d.device in decided.withdraw and d.online
                else _react(
                    replace(d, assigned_seq=1 if d.device in given_now else 0),
                    fate_of[d.device],
                )
                if d.device not in given_now or given_now[d.device] == 2
                else d
                for d in facts.devices
            ],
        )
    if abort_at is not None and abort_at < 1:
        assert facts.state is State.ROLLED_BACK
    if facts.state is State.ROLLED_BACK:
        assert 2 not in facts.given.values()
        assert all(d.release != 2 for d in facts.devices if d.online)
    if facts.state is State.COMPLETED:
        assert "fails" not in fates
