"""Which channels are chosen where nobody chose any."""

from edge_agent.sketch.choice import choose_channels
from edge_agent.wire.manifest import InputContract, TensorContract


def _input(name: str, *shape: int, axes: tuple[str, ...] = ()) -> InputContract:
    return InputContract(
        tensor=TensorContract(name=name, shape=list(shape)), axes=list(axes)
    )


def _output(name: str, *shape: int) -> TensorContract:
    return TensorContract(name=name, shape=list(shape))


def _names(
    inputs: list[InputContract], outputs: list[TensorContract], labels: list[str]
) -> list[str]:
    return [channel.name for channel in choose_channels(inputs, outputs, labels)]


def test_a_classifier_of_windows_is_watched_by_class_and_axis() -> None:
    """Class, confidence, mean and spread of each axis, small outputs by element."""
    assert _names(
        [_input("x", 100, 2, axes=("ax", "ay"))],
        [_output("probabilities", 2), _output("energy", 1), _output("embedding", 3)],
        ["up", "down"],
    ) == [
        "class",
        "confidence",
        "mean.ax",
        "mean.ay",
        "std.ax",
        "std.ay",
        "energy",
        "embedding.0",
        "embedding.1",
        "embedding.2",
    ]


def test_what_is_wide_is_watched_as_a_whole() -> None:
    """An image or a spectrum has a level and a spread, not hundreds of channels."""
    assert _names([_input("spectrum", 490)], [_output("code", 64)], []) == [
        "level",
        "spread",
        "code.level",
        "code.spread",
    ]


def test_several_inputs_keep_their_names() -> None:
    """A channel says which input it is of, and a single number has no spread."""
    channels = choose_channels(
        [_input("flow", 2), _input("level"), _input("image", 8, 8, 3)],
        [_output("load", 1)],
        [],
    )
    assert [channel.name for channel in channels][:3] == [
        "flow.mean.0",
        "flow.mean.1",
        "level.mean.0",
    ]
    assert [channel.tensor for channel in channels[:3]] == ["", "", "level"]
    assert channels[-1].name == "load"
    assert len(channels) == 3 + 6 + 1


def test_more_classes_than_bins_are_watched_by_confidence_alone() -> None:
    """A thousand classes are no channel."""
    labels = [f"c{place}" for place in range(1000)]
    assert _names([_input("x", 3)], [_output("p", 1000)], labels)[0] == "confidence"
