"""A model on LiteRT's ``CompiledModel``: the way to GPUs and NPUs.

On a CPU it computes what the interpreter does and costs a few microseconds more a call,
so it is a switch and not the default. Accelerators are tried where the system has a
device for them; one that cannot take the model is said once and left out. What its
buffers have no type for (int16, int64) the interpreter runs.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.runtime.interpreted import Interpreter, describe
from edge_agent.runtime.named import FAILURES, NamedModel, Shapes
from edge_agent.runtime.port import ANY, Array
from edge_agent.runtime.tensors import Tensor

if TYPE_CHECKING:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.tensor_buffer import TensorBuffer

COMPILED = "runtime.compiled"
ACCELERATOR_FAILED = "runtime.accelerator.failed"
_DTYPES = {"float32", "float16", "int32", "int8", "uint8", "bool"}
_DEVICES = {
    "NPU": ("/dev/accel/accel*", "/dev/adsprpc-smd", "/dev/fastrpc-*"),
    "GPU": ("/dev/dri/render*", "/dev/mali*", "/dev/kgsl-3d0"),
}
"""Device nodes by which Linux shows an accelerator."""

log = logging.getLogger(__name__)


class NotCompiledError(Exception):
    """Why this model does not run on ``CompiledModel`` here."""


class CompiledRun(NamedModel):
    """One compiled model; see :class:`~edge_agent.runtime.port.Model`."""

    def __init__(
        self,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        make: "Callable[[], CompiledModel]",
    ) -> None:
        """Make the model and its buffers.

        Args:
            inputs: As an interpreter describes them: the compiled model knows no scale.
            outputs: Likewise.
            make: Returns a new compiled model.

        Raises:
            NotCompiledError: Its signatures are not those of the interpreter.
        """
        super().__init__(inputs, outputs)
        self._make = make
        self._compiled: CompiledModel | None = None
        self._open_again()

    def close(self) -> None:
        """Free the model and its buffers."""
        super().close()
        self._compiled = None
        self._ins: list[TensorBuffer] = []
        self._outs: list[TensorBuffer] = []

    def _open_again(self) -> None:
        self._compiled = compiled = self._make()
        wanted = {one.spec.name for one in self._inputs}
        for place, names in enumerate(compiled.get_signature_list().values()):
            if set(names["inputs"]) == wanted:
                self._signature = place
                self._in_order = _order(self._inputs, names["inputs"])
                self._out_order = _order(self._outputs, names["outputs"])
                self._make_buffers(compiled)
                return
        raise NotCompiledError("it has no signature of these inputs")

    def _resize(self, shapes: Shapes) -> None:
        if self._compiled is None:
            raise RuntimeError("there is no model any more")
        wanted = dict(zip(self._inputs, shapes, strict=True))
        for place, tensor in enumerate(self._in_order):
            if ANY in tensor.spec.full_shape:
                self._compiled.resize_input_tensor(
                    place, wanted[tensor], self._signature
                )
        self._make_buffers(self._compiled)

    def _make_buffers(self, compiled: "CompiledModel") -> None:
        self._ins = compiled.create_input_buffers(self._signature)
        self._outs = compiled.create_output_buffers(self._signature)
        self._sizes = [
            tuple(buffer.get_tensor_details()["shape"]) for buffer in self._outs
        ]

    def _invoke(self, numbers: list[Array]) -> list[Array]:
        if self._compiled is None:
            raise RuntimeError("there is no model any more")
        given = dict(zip(self._inputs, numbers, strict=True))
        for buffer, tensor in zip(self._ins, self._in_order, strict=True):
            buffer.write(given[tensor])
        self._compiled.run_by_index(self._signature, self._ins, self._outs)
        told = {
            tensor: buffer.read(int(np.prod(size)), tensor.dtype).reshape(size)
            for buffer, tensor, size in zip(
                self._outs, self._out_order, self._sizes, strict=True
            )
        }
        return [told[tensor] for tensor in self._outputs]


def open_compiled(data: bytes, interpreter: Interpreter, threads: int) -> CompiledRun:
    """Open a model, on an accelerator if there is one that takes it.

    Args:
        data: The whole file.
        interpreter: One of the same file, which describes its tensors.
        threads: Threads of one invocation on the CPU.

    Raises:
        NotCompiledError: It does not run so here.
        ModelError: A tensor is of a kind that is not served (``AGENT-MODEL-002``).
    """
    try:
        from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, Options
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    except ImportError as error:
        raise NotCompiledError("this runtime has no CompiledModel") from error
    inputs, outputs = describe(interpreter)
    for tensor in (*inputs, *outputs):
        if tensor.spec.dtype not in _DTYPES:
            raise NotCompiledError(f"tensor {tensor.spec.name!r} is {tensor.dtype}")
    for accelerator in (*present_accelerators(), "CPU"):
        chosen = HardwareAccelerator[accelerator] | HardwareAccelerator.CPU
        options = Options(
            hardware_accelerators=chosen, cpu_options=CpuOptions(num_threads=threads)
        )

        def make(options: Options = options) -> CompiledModel:
            return CompiledModel.from_buffer(data, options=options)

        try:
            model = CompiledRun(inputs, outputs, make)
        except FAILURES as error:
            why = str(error).partition("\n")[0]
            log.warning(
                ACCELERATOR_FAILED, extra={"accelerator": accelerator, "why": why}
            )
        else:
            log.info(COMPILED, extra={"accelerator": accelerator})
            return model
    raise NotCompiledError("not even the CPU takes it")


def present_accelerators(root: Path = Path("/")) -> list[str]:
    """Return the accelerators that the system has a device for, best first."""
    return [
        name
        for name, patterns in _DEVICES.items()
        if any(next(root.glob(p.lstrip("/")), None) for p in patterns)
    ]


def _order(tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    known = {tensor.spec.name: tensor for tensor in tensors}
    if set(known) != set(names):
        raise NotCompiledError("its tensors have other names")
    return [known[name] for name in names]
