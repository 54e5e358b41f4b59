"""Taking in releases that tell no classes or have several inputs: what is refused."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.sketch.golden import read_golden, write_golden
from edge_agent.sketch.reference import build_reference
from edge_agent.wire import codec
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    AnswerKind,
    Bundle,
    InputContract,
    TensorContract,
)
from edge_agent.wire.profile import Channel, Source
from hub.errors import RefusedError
from hub.releases.intake import check_bundle
from trainer.bundle import file_ref
from trainer.imports.make import import_model
from trainer.imports.read import Foreign

KINDS = Path(__file__).parents[1] / "data" / "kinds"


class OneTime:
    """A clock that stands."""

    def wall(self) -> float:
        """Return a wall time."""
        return 1.0

    def mono(self) -> float:
        """Return a monotonic time."""
        return 1.0


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return the bundle of a regression of two inputs, without samples."""
    foreign = Foreign(source=KINDS / "pump.tflite", shapes={})
    import_model(foreign, tmp_path / "bundle", OneTime())
    return tmp_path / "bundle"


def change(folder: Path, **fields: object) -> None:
    """Change fields of the manifest; digests follow the files."""
    path = folder / BUNDLE_FILE
    bundle = codec.decode(path.read_bytes(), Bundle)
    refs = {
        name: file_ref(ref.name, (folder / ref.name).read_bytes())
        for name in ("golden", "reference", "calibration")
        if (ref := getattr(bundle, name))
    }
    document = msgspec.to_builtins(bundle) | msgspec.to_builtins({**refs, **fields})
    path.write_bytes(msgspec.json.encode(document))


def watch(folder: Path, *channels: Channel) -> None:
    """Put a reference with these channels."""
    values = np.random.default_rng(1).normal(size=(50, len(channels)))
    reference = build_reference("pump", channels, values)
    (folder / "reference.json").write_bytes(codec.encode(reference))
    np.savez(
        folder / "calibration.npz", values=values, group=np.array(["a"] * len(values))
    )
    change(folder)


def test_without_channels_it_is_taken_in(bundle: Path) -> None:
    """An empty reference and an empty calibration are legal."""
    intake = check_bundle(bundle)
    assert (intake.reference.channels, intake.values.shape) == ([], (0, 0))
    assert intake.bundle.kind is AnswerKind.VALUES


def test_channels_of_every_input_and_output_are_taken_in(bundle: Path) -> None:
    """Of the first input without a name, of others by theirs, whole or by element."""
    watch(
        bundle,
        Channel(name="a", source=Source.INPUT_MEAN, index=3),
        Channel(name="b", source=Source.INPUT_MEAN, tensor="level"),
        Channel(name="c", source=Source.INPUT_LEVEL, tensor="flow"),
        Channel(name="d", source=Source.OUTPUT, tensor="states", index=2),
        Channel(name="e", source=Source.OUTPUT_SPREAD, tensor="states"),
    )
    assert len(check_bundle(bundle).reference.channels) == 5


def _golden(folder: Path, name: str) -> None:
    bundle = codec.decode((folder / BUNDLE_FILE).read_bytes(), Bundle)
    golden = read_golden((folder / "golden.npz").read_bytes(), bundle)
    del golden.inputs[name]
    (folder / "golden.npz").write_bytes(write_golden(golden))
    change(folder)


def _channel(**fields: object) -> Callable[[Path], None]:
    channel = Channel(**{"name": "x", **fields})  # type: ignore[arg-type]
    return lambda folder: watch(folder, channel)


LEVEL = InputContract(tensor=TensorContract(name="level", shape=[2]))
OTHER = InputContract(tensor=TensorContract(name="other", shape=[1]))


@pytest.mark.parametrize(
    ("spoil", "code", "text"),
    [
        (lambda f: change(f, labels=["a", "b"]), 1, "has no labels"),
        (lambda f: change(f, answer="logits"), 1, "two labels or more"),
        (lambda f: change(f, answer="guesses"), 1, "guesses"),
        (lambda f: _golden(f, "level"), 5, "it has inputs ['flow']"),
        (_channel(source=Source.CONFIDENCE), 4, "tells no classes"),
        (_channel(source=Source.CLASS, categories=["a"]), 4, "tells no classes"),
        (_channel(source=Source.INPUT_MEAN, index=4), 4, "no axis 4"),
        (_channel(source=Source.INPUT_STD, tensor="x"), 4, "no input 'x'"),
        (_channel(source=Source.INPUT_LEVEL, tensor="x"), 4, "no input 'x'"),
        (_channel(source=Source.OUTPUT_LEVEL, tensor="x"), 4, "no output 'x'"),
        (_channel(source=Source.OUTPUT, tensor="load", index=1), 4, "no element 1"),
        (lambda f: change(f, extra_inputs=[]), 5, "it has inputs"),
        (lambda f: change(f, extra_inputs=[OTHER]), 5, "it has inputs"),
        (lambda f: change(f, extra_inputs=[LEVEL]), 5, "level has shape"),
    ],
)
def test_what_does_not_fit_is_refused(
    bundle: Path, spoil: Callable[[Path], None], code: int, text: str
) -> None:
    """File and reason are named, before any device hears of it."""
    spoil(bundle)
    with pytest.raises(RefusedError) as caught:
        check_bundle(bundle)
    assert caught.value.code == f"HUB-RELEASE-{code:03d}"
    assert text in caught.value.text


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([TensorContract(name="heat", shape=[1])], "no output 'heat'"),
        ([TensorContract(name="load", shape=[2])], "the model [1]"),
        ([TensorContract(name="load", shape=[1], dtype="int8")], "of int8"),
    ],
)
def test_the_probe_compares_the_model_with_its_contract(
    bundle: Path, outputs: list[TensorContract], text: str
) -> None:
    """A contract that golden answers cannot prove wrong is held against the file."""
    document = codec.decode((bundle / BUNDLE_FILE).read_bytes(), Bundle)
    golden = read_golden((bundle / "golden.npz").read_bytes(), document)
    states = [one for one in document.outputs if one.name == "states"]
    golden.outputs.pop("load")
    (bundle / "golden.npz").write_bytes(write_golden(golden))
    change(bundle, outputs=[*states, *outputs])
    with pytest.raises(RefusedError) as caught:
        check_bundle(bundle)
    assert caught.value.code == "HUB-RELEASE-007"
    assert "AGENT-MODEL-008" in caught.value.text
    assert text in caught.value.text
