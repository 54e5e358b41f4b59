"""In which order the windows of recordings are played."""

from edge_agent.serve.sources.replay import plan_cycle, plan_sessions
from edge_agent.serve.windowing import Windowing, windowing_of
from edge_agent.wire.manifest import InputContract, TensorContract

WINDOWING = Windowing(length=100, hop=20)


def test_recordings_take_turns() -> None:
    """First windows of all recordings come before anyone's second."""
    plan = list(plan_cycle({"a": 140, "b": 120}, WINDOWING, 0))
    assert plan == [("a", 0), ("b", 0), ("a", 20), ("b", 20), ("a", 40)]


def test_each_cycle_starts_a_few_rows_later() -> None:
    """Offsets shift by seven rows a cycle, within one hop."""
    first = [next(iter(plan_cycle({"a": 500}, WINDOWING, n)))[1] for n in range(4)]
    assert first == [0, 7, 14, 1]


def test_no_window_leaves_its_recording() -> None:
    """Every window lies inside the rows that there are."""
    for cycle in range(20):
        for _, offset in plan_cycle({"a": 333}, WINDOWING, cycle):
            assert 0 <= offset <= 233


def test_a_short_recording_is_offered_once_a_cycle() -> None:
    """It is passed on, to be rejected and counted, not silently left out."""
    assert list(plan_cycle({"a": 99}, WINDOWING, 3)) == [("a", 0)]
    assert list(plan_cycle({}, WINDOWING, 0)) == []


def test_without_a_hop_windows_do_not_overlap() -> None:
    """Hop 0 in the contract means one window after another."""
    contract = InputContract(tensor=TensorContract(name="x", shape=[50, 3]))
    assert windowing_of(contract) == Windowing(length=50, hop=50)


LENGTHS = {"a": 333, "b": 460, "c": 140, "d": 99}


def test_in_sessions_a_recording_is_played_whole() -> None:
    """A recording begins only when the one before it has ended, and never again."""
    for cycle in range(20):
        played = [name for name, _ in plan_sessions(LENGTHS, WINDOWING, cycle, 1)]
        begun = [name for place, name in enumerate(played) if name != played[place - 1]]
        assert sorted(begun) == sorted(LENGTHS)


def test_a_cycle_has_the_same_samples_in_either_order() -> None:
    """Sessions change when a sample is played, not whether."""
    for cycle in range(20):
        turns = plan_cycle(LENGTHS, WINDOWING, cycle)
        sessions = plan_sessions(LENGTHS, WINDOWING, cycle, 1)
        assert sorted(sessions) == sorted(turns)


def test_the_order_of_sessions_follows_from_the_seed_alone() -> None:
    """A run is reproduced by its seed, whatever order the file lists recordings in."""

    def orders(seed: int, lengths: dict[str, int]) -> list[tuple[str, int]]:
        return [
            window
            for cycle in range(8)
            for window in plan_sessions(lengths, WINDOWING, cycle, seed)
        ]

    backwards = dict(reversed(LENGTHS.items()))
    assert orders(1, LENGTHS) == orders(1, backwards)
    assert orders(1, LENGTHS) != orders(2, LENGTHS)


def test_each_cycle_of_sessions_has_an_order_of_its_own() -> None:
    """Over eight cycles of four recordings, several orders occur."""
    firsts = {next(plan_sessions(LENGTHS, WINDOWING, n, 1))[0] for n in range(8)}
    assert len(firsts) > 1
