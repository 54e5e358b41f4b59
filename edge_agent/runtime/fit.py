"""Does a loaded model do what its bundle says? By names, shapes and number formats.

Called by the engine, the hub's probe and the device's self-test, so that what the hub
takes in is what devices can load.
"""

from collections.abc import Mapping, Sequence

from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, Array, Model, TensorSpec
from edge_agent.wire.manifest import TensorContract

UNFIT = "AGENT-MODEL-008"


def check_fit(
    model: Model, inputs: Sequence[TensorContract], outputs: Sequence[TensorContract]
) -> None:
    """Check a model against its contract. A single input may have another name.

    Raises:
        ModelError: It does not fit (``AGENT-MODEL-008``).
    """
    specs = {spec.name: spec for spec in model.inputs}
    if len(inputs) == len(specs) == 1:
        specs = {inputs[0].name: model.inputs[0]}
    if {tensor.name for tensor in inputs} != set(specs):
        wanted = [tensor.name for tensor in inputs]
        raise ModelError(
            UNFIT, f"contract has inputs {wanted}, the model {sorted(specs)}"
        )
    for tensor in inputs:
        _check_tensor("input", tensor, specs[tensor.name])
    found = {spec.name: spec for spec in model.outputs}
    for tensor in outputs:
        if tensor.name not in found:
            raise ModelError(UNFIT, f"model has no output {tensor.name!r}")
        _check_tensor("output", tensor, found[tensor.name])


def ask(model: Model, sample: Mapping[str, Array]) -> dict[str, Array]:
    """Run one sample given by the names of the contract's inputs.

    Raises:
        ModelError: As :meth:`~edge_agent.runtime.port.Model.predict_named`.
    """
    if len(sample) == len(model.inputs) == 1:
        return model.predict_named({model.inputs[0].name: next(iter(sample.values()))})
    return model.predict_named(sample)


def fits_shape(shape: Sequence[int], free: Sequence[int]) -> bool:
    """Tell whether a shape is another one where that has no free dimensions."""
    return len(shape) == len(free) and all(
        want in (have, ANY) for have, want in zip(shape, free, strict=True)
    )


def _check_tensor(what: str, tensor: TensorContract, spec: TensorSpec) -> None:
    if not fits_shape(tensor.shape, spec.shape):
        raise ModelError(
            UNFIT,
            f"contract has {what} {tensor.name!r} of shape {list(tensor.shape)},"
            f" the model {list(spec.shape)}",
        )
    takes_floats = spec.quantized or spec.dtype == "float16"
    if tensor.dtype != spec.dtype and not (takes_floats and tensor.dtype == "float32"):
        raise ModelError(
            UNFIT,
            f"contract has {what} {tensor.name!r} of {tensor.dtype},"
            f" the model {spec.dtype}",
        )
