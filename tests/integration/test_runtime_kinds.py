"""Models of many kinds on every backend: see scripts/make_kind_models.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.runtime.litert import load_model
from edge_agent.runtime.port import ANY, Model

Load = Callable[[str], Model]
KINDS = Path(__file__).parents[1] / "data" / "kinds"
DATA = KINDS.parent


@pytest.fixture(params=["interpreter", "compiled"])
def load(request: pytest.FixtureRequest) -> Load:
    """Load a kind of model by its name, on one of the backends."""

    def load_kind(name: str) -> Model:
        data = (KINDS / f"{name}.tflite").read_bytes()
        return load_model(data, backend=request.param)

    return load_kind


def _pumps(count: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(4)
    flow = rng.normal(size=(count, 4)).astype(np.float32)
    level = rng.uniform(0, 2, size=(count, 1)).astype(np.float32)
    return {"flow": flow, "level": level}


def test_several_inputs_and_outputs_go_by_name(load: Load) -> None:
    """A model with two inputs says what it takes and answers by name."""
    model = load("pump")
    assert {s.name: (s.batch, s.shape) for s in model.inputs} == {
        "flow": (ANY, (4,)),
        "level": (ANY, (1,)),
    }
    out = model.run(_pumps(1))
    assert {name: value.shape for name, value in out.items()} == {
        "load": (1, 1),
        "states": (1, 3),
    }


def test_a_free_batch_gives_what_single_samples_give(load: Load) -> None:
    """Seven samples at once answer as seven alone, and a single one works again."""
    model, pumps = load("pump"), _pumps(7)
    many = model.run(pumps)
    for place in range(7):
        one = model.predict_named({name: v[place] for name, v in pumps.items()})
        np.testing.assert_allclose(one["load"], many["load"][place], atol=1e-6)
    assert model.run(pumps)["states"].shape == (7, 3)


def test_a_batch_differs_in_no_input(load: Load) -> None:
    """Inputs of different batches are refused."""
    with pytest.raises(ModelError, match="different batches") as caught:
        load("pump").run({"flow": _pumps(3)["flow"], "level": _pumps(2)["level"]})
    assert caught.value.code == "AGENT-MODEL-004"


def test_a_size_that_the_graph_does_not_take_is_refused_and_forgotten(
    load: Load,
) -> None:
    """Two free lengths that must be equal fail; the model answers as before."""
    model = load("twins")
    one, two = np.ones((1, 1), np.float32), np.ones((1, 2), np.float32)
    before = model.run({"a": one, "b": one})["sum"]
    for _ in range(3):
        with pytest.raises(ModelError) as caught:
            model.run({"a": two, "b": np.ones((1, 3), np.float32)})
        assert caught.value.code == "AGENT-MODEL-012"
    assert model.run({"a": two, "b": two})["sum"].tolist() == [[2, 2]]
    np.testing.assert_array_equal(model.run({"a": one, "b": one})["sum"], before)


def test_a_fixed_batch_is_refused_clearly() -> None:
    """A model of batch 1 takes no two samples, and the cure says so."""
    model = load_model((DATA / "tiny.tflite").read_bytes())
    with pytest.raises(ModelError) as caught:
        model.run({"x": np.zeros((2, 100, 6), np.float32)})
    assert caught.value.code == "AGENT-MODEL-004"
    assert "one at a time" in caught.value.cure


def test_free_rows_take_any_length(load: Load) -> None:
    """A free inner dimension may change from call to call."""
    model = load("rows")
    for rows in (1, 5, 40, 5):
        x = np.random.default_rng(rows).normal(size=(2, rows, 3)).astype(np.float32)
        np.testing.assert_allclose(
            model.run({"rows": x})["mean"], x.mean(axis=1), atol=1e-5
        )
    assert model.predict(np.ones((9, 3), np.float32))["mean"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int8-bare"])
def test_quantized_models_take_and_give_floats_or_steps(kind: str, load: Load) -> None:
    """Floats in, floats out agree with the float twin; steps in, steps out as well."""
    model, twin = load(f"pump-{kind}"), load("pump")
    ins = [spec.name for spec in model.inputs]
    pumps = _pumps(1)
    named = dict(zip(ins, pumps.values(), strict=True))
    wanted = twin.run(pumps)["load"]
    assert all(spec.quantized for spec in (*model.inputs, *model.outputs))
    told = next(s.name for s in model.outputs if s.shape == (1,))
    floats = model.run(named, dequantize=True)[told]
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, wanted, atol=0.1)
    steps = model.run(named)[told]
    spec = next(s for s in model.outputs if s.name == told)
    assert steps.dtype == spec.dtype
    assert floats == np.float32(spec.scale) * np.float32(
        steps.astype(int) - spec.zero_point
    )
    raw = {
        s.name: np.rint(named[s.name] / np.float32(s.scale) + s.zero_point).astype(
            s.dtype
        )
        for s in model.inputs
    }
    np.testing.assert_array_equal(model.run(raw)[told], steps)


def test_integers_and_truth_values_keep_their_types(load: Load) -> None:
    """int32, int64 and bool go in and out as they are."""
    model = load("kinds")
    out = model.run(
        {
            "counts": np.array([[5, -2, 7]], np.int32),
            "ticks": np.array([2**40], np.int64),
            "mask": np.array([[True, True, False]]),
        }
    )
    assert {n: (str(v.dtype), v.tolist()) for n, v in out.items()} == {
        "kept": ("int32", [[5, -2, 0]]),
        "next": ("int64", [2**40 + 1]),
        "positive": ("bool", [[True, False, True]]),
    }


def test_half_floats_are_served(load: Load) -> None:
    """float16 goes in as it is, and floats are rounded to it."""
    model = load("half")
    given = np.array([[0.1, 1.0, -2.5, 1000.0]], np.float32)
    expected = given.astype(np.float16).astype(np.float32)
    for x in (given, given.astype(np.float16)):
        np.testing.assert_array_equal(model.run({"x": x})["y"], expected)


@pytest.mark.parametrize(("name", "word"), [("text", "texts"), ("waves", "complex")])
def test_what_no_device_serves_is_refused_with_a_cure(
    name: str, word: str, load: Load
) -> None:
    """Texts and complex numbers are refused at load."""
    with pytest.raises(ModelError) as caught:
        load(name)
    assert caught.value.code == "AGENT-MODEL-002"
    assert word in caught.value.text
    assert caught.value.cure


def test_other_signatures_name_the_tensors_too(load: Load) -> None:
    """Without `serving_default`, the signature of the main graph counts."""
    assert [spec.name for spec in load("rows").inputs] == ["rows"]
    assert [spec.name for spec in load("two").outputs] == ["doubled"]


def test_a_file_of_an_old_converter_has_the_tensors_own_names(load: Load) -> None:
    """Without any signature the numbers are the same under other names."""
    bare, named = load("tiny-bare"), load_model((DATA / "tiny.tflite").read_bytes())
    x = np.random.default_rng(3).normal(size=(100, 6)).astype(np.float32)
    by_shape = [v for v in bare.predict(x).values() if v.shape == (7,)]
    np.testing.assert_allclose(by_shape[0], named.predict(x)["probabilities"])
    assert bare.inputs[0].name == "serving_default_x:0"


def test_a_missing_or_unknown_input_is_named(load: Load) -> None:
    """The error says what was given and what the model takes."""
    model, pumps = load("pump"), _pumps(1)
    for given in ({"flow": pumps["flow"]}, {**pumps, "more": pumps["flow"]}):
        with pytest.raises(ModelError, match="takes") as caught:
            model.run(given)
        assert caught.value.code == "AGENT-MODEL-004"
    with pytest.raises(ModelError, match="by name"):
        model.predict(pumps["flow"][0])


def test_answers_are_the_callers_own(load: Load) -> None:
    """A later run does not change what an earlier one returned."""
    model = load("pump")
    first = model.run(_pumps(1))["states"]
    kept = first.copy()
    model.run({name: values * 3 for name, values in _pumps(1).items()})
    np.testing.assert_array_equal(first, kept)
