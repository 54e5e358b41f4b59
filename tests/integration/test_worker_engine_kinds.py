"""The embedded engine on models of many kinds."""

import threading
from pathlib import Path

import numpy as np
import pytest

import edge_agent
from edge_agent.engine import Engine
from edge_agent.errors import ModelError, SampleRejectedError
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.telling import ModelContract
from edge_agent.wire.manifest import AnswerKind, InputContract, TensorContract

DATA = Path(__file__).parents[1] / "data"
KINDS = DATA / "kinds"
FLOW = np.array([0.1, -0.2, 0.3, 0.4], np.float32)
LEVEL = np.array([1.5], np.float32)


def _pump(kind: str = "pump") -> Engine:
    return Engine.open(KINDS / f"{kind}.tflite")


def test_the_package_offers_the_engine() -> None:
    """An application needs one import."""
    assert edge_agent.Engine is Engine
    with pytest.raises(AttributeError):
        edge_agent.Motor  # noqa: B018 - the lookup is the test


def test_a_model_that_tells_no_classes_answers_with_its_outputs() -> None:
    """A regression has neither label nor confidence."""
    engine = _pump()
    made = engine.predict({"flow": FLOW, "level": LEVEL})
    assert (made.label, made.index, made.confidence) == ("", -1, 0.0)
    assert made.probabilities.size == 0
    assert {name: v.shape for name, v in made.outputs.items()} == {
        "load": (1,),
        "states": (3,),
    }
    assert engine.labels == ()


def test_inputs_may_be_given_by_place_or_by_name() -> None:
    """Both ways give the same answer, and so do plain lists."""
    engine = _pump()
    by_name = engine.predict({"level": LEVEL, "flow": FLOW}).outputs["load"]
    by_place = engine.predict(FLOW, LEVEL).outputs["load"]
    listed = engine.predict({"flow": FLOW.tolist(), "level": [1.5]})
    assert by_name == by_place == listed.outputs["load"]
    assert engine.predict([1, 0, 0, 1], [2]).outputs["load"].shape == (1,)
    with pytest.raises(SampleRejectedError) as caught:
        engine.predict(["a", "b", "c", "d"], [2])
    assert caught.value.reason == "dtype"


@pytest.mark.parametrize("kind", ["pump-int8", "pump-uint8", "pump-int16"])
def test_a_quantized_model_takes_and_gives_floats(kind: str) -> None:
    """The caller never sees a step."""
    wanted = _pump().predict(FLOW, LEVEL).outputs["load"]
    made = _pump(kind).predict(FLOW, LEVEL)
    assert made.outputs["load"].dtype == np.float32
    np.testing.assert_allclose(made.outputs["load"], wanted, atol=0.1)


def test_integers_and_truth_values_come_as_they_are() -> None:
    """int32, int64 and bool inputs and outputs keep their types."""
    engine = _pump("kinds")
    made = engine.predict(
        {
            "counts": np.array([5, -2, 7]),
            "ticks": np.array(2**40),
            "mask": np.array([True, True, False]),
        }
    )
    assert made.outputs["kept"].tolist() == [5, -2, 0]
    assert made.outputs["next"] == 2**40 + 1
    assert made.outputs["positive"].dtype == bool
    with pytest.raises(SampleRejectedError) as caught:
        engine.predict(
            {
                "counts": np.array([0.5, 1, 2]),
                "ticks": np.array(1),
                "mask": np.zeros(3, bool),
            }
        )
    assert caught.value.reason == "dtype"


def test_half_floats_are_taken_as_floats() -> None:
    """A float16 input takes floats of any width, rounded to it."""
    engine = _pump("half")
    for dtype in (np.float16, np.float32, np.float64):
        made = engine.predict(np.array([0.5, 1, 2, 3], dtype))
        assert made.outputs["y"].tolist() == [0.5, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"flow": FLOW}, "inputs"),
        ({"flow": FLOW, "level": LEVEL, "more": LEVEL}, "inputs"),
        ({"flow": FLOW, "level": np.array([np.nan], np.float32)}, "not_finite"),
        ({"flow": FLOW[:3], "level": LEVEL}, "shape"),
        ({"flow": FLOW, "level": LEVEL.astype(complex)}, "dtype"),
        ({"flow": FLOW, "level": np.array([2e9], np.float32)}, "range"),
    ],
)
def test_a_bad_sample_of_several_inputs_is_rejected_and_counted(
    given: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], reason: str
) -> None:
    """Each input is checked, and the reason names it."""
    engine = _pump()
    with pytest.raises(SampleRejectedError) as caught:
        engine.predict(given)
    assert caught.value.reason == reason
    if reason != "inputs":
        assert "'level'" in caught.value.text or "'flow'" in caught.value.text
    assert engine.profile().rejected == {reason: 1}


def test_a_profile_is_kept_on_chosen_channels() -> None:
    """Without a reference the moments still tell what the model saw."""
    engine = Engine.open(DATA / "tiny.tflite")
    x = np.random.default_rng(8).normal(size=(70, 100, 6)).astype(np.float32)
    made = [engine.predict(sample) for sample in x]
    profile = engine.profile(start_over=True)
    assert profile.rows == 70
    assert sum(profile.latency.values()) == 70
    classes = np.bincount([one.index for one in made], minlength=7)
    assert profile.counts[0] == classes.tolist()
    assert profile.moments[1].mean == pytest.approx(
        np.mean([one.confidence for one in made]), abs=1e-5
    )
    assert profile.moments[2].mean == pytest.approx(x[:, :, 0].mean(), abs=1e-5)
    assert engine.profile().rows == 0
    with pytest.raises(ModelError) as caught:
        Engine.open(DATA / "tiny.tflite", monitor=False).profile()
    assert caught.value.code == "AGENT-MODEL-013"


def test_many_threads_may_ask_several_engines() -> None:
    """Each answer belongs to its sample, and every one is in a profile."""
    engines = [_pump(), _pump("pump-int8")]
    wanted = [
        [engine.predict(FLOW * scale, LEVEL).outputs["load"] for scale in range(5)]
        for engine in engines
    ]
    wrong: list[int] = []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            which, scale = int(rng.integers(2)), int(rng.integers(5))
            made = engines[which].predict(FLOW * scale, LEVEL)
            if made.outputs["load"] != wanted[which][scale]:
                wrong.append(scale)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(engine.profile().rows for engine in engines) == 800 + 10


def test_raw_tensors_pass_unchecked() -> None:
    """Whole batches go straight to the port."""
    engine = _pump("pump-int8")
    out = engine.run({"flow": np.stack([FLOW, FLOW]), "level": np.stack([LEVEL] * 2)})
    assert out["load"].dtype == np.int8
    assert out["load"].shape == (2, 1)


def test_a_free_dimension_needs_a_contract() -> None:
    """The engine does not guess how long a window is."""
    with pytest.raises(ModelError) as caught:
        Engine.open(KINDS / "rows.tflite")
    assert caught.value.code == "AGENT-MODEL-008"
    contract = ModelContract(
        inputs=(InputContract(tensor=TensorContract(name="rows", shape=[5, 3])),),
        outputs=(TensorContract(name="mean", shape=[3]),),
        kind=AnswerKind.VALUES,
        labels=(),
    )
    engine = Engine((KINDS / "rows.tflite").read_bytes(), contract=contract)
    assert engine.predict(np.ones((5, 3), np.float32)).outputs["mean"].tolist() == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"inputs": ("flow",)}, "inputs"),
        ({"outputs": ("nowhere",)}, "no output 'nowhere'"),
        ({"shape": [5]}, "shape"),
        ({"dtype": "int32"}, "int32"),
    ],
)
def test_a_contract_that_the_model_does_not_keep_is_refused(
    change: dict[str, object], word: str
) -> None:
    """Names, shapes and number formats are compared when the model is loaded."""
    tensor = TensorContract(
        name="flow",
        shape=change.get("shape", [4]),  # type: ignore[arg-type]
        dtype=change.get("dtype", "float32"),  # type: ignore[arg-type]
    )
    level = InputContract(tensor=TensorContract(name="level", shape=[1]))
    inputs = (InputContract(tensor=tensor), level)
    contract = ModelContract(
        inputs=inputs[:1] if "inputs" in change else inputs,
        outputs=(
            TensorContract(
                name="nowhere" if "outputs" in change else "load", shape=[1]
            ),
        ),
        kind=AnswerKind.VALUES,
        labels=(),
    )
    with pytest.raises(ModelError, match=word) as caught:
        Engine((KINDS / "pump.tflite").read_bytes(), contract=contract)
    assert caught.value.code == "AGENT-MODEL-008"


def test_logits_and_a_sigmoid_become_probabilities() -> None:
    """Labels make classes of numbers that are no probabilities themselves."""
    states = Engine((KINDS / "pump.tflite").read_bytes(), labels=["a", "b", "c"])
    made = states.predict(FLOW, LEVEL)
    raw = made.outputs["states"]
    np.testing.assert_allclose(
        made.probabilities, np.exp(raw) / np.exp(raw).sum(), rtol=1e-5
    )
    assert made.label == "abc"[int(raw.argmax())]
    with pytest.raises(ModelError, match="no probability"):
        Engine((KINDS / "pump.tflite").read_bytes(), labels=["no", "yes"])


def test_the_engine_says_what_goes_in_and_comes_out() -> None:
    """Specs are those of the file, quantization included."""
    with _pump("pump-int8") as engine:
        model = load_model((KINDS / "pump-int8.tflite").read_bytes())
        assert engine.inputs == model.inputs
        assert {spec.name for spec in engine.outputs} == {"load", "states"}
        assert all(spec.quantized for spec in engine.inputs)
    with pytest.raises(ModelError, match="closed"):
        engine.predict(FLOW, LEVEL)
