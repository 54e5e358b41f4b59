"""TFLite files on LiteRT: loading, and which runtime this is.

``ai-edge-litert`` is the default; ``tflite-runtime`` stands in where it has no wheel
(32-bit ARM). Invariants: a model is loaded from *bytes that the caller has verified*,
never from a path (a file can change between check and use, and a mapped file that is
cut short kills the process); one thread (more gained nothing on small models and cost
25 times under contention).
"""

import logging
from collections.abc import Callable
from types import ModuleType

import numpy as np

from edge_agent.base.installed import COMPILED, chosen_backend, installed_version
from edge_agent.errors import ModelError
from edge_agent.runtime.interpreted import InterpretedModel, Interpreter
from edge_agent.runtime.port import ANY, UNLOADABLE, UNSERVED, Model, TensorSpec

NOT_COMPILED = "runtime.not_compiled"
_PACKAGES = ("ai-edge-litert", "tflite-runtime")
_LACKS = (
    "Select TensorFlow op",
    "unresolved custom op",
    "Didn't find op for builtin opcode",
    "builtin_code out of range",
)
"""What both runtimes say of operators that they do not have."""

log = logging.getLogger(__name__)
_FAILURES = (ValueError, RuntimeError, KeyError, TypeError, MemoryError)


def load_model(
    data: bytes, *, threads: int = 1, warm_up: int = 3, backend: str = ""
) -> Model:
    """Load a model from verified bytes and warm it up.

    Args:
        data: The whole ``.tflite`` file.
        threads: Threads of one invocation.
        warm_up: Invocations on zeros before the model is handed out; a file that
            crashes mostly does so in its first invocation.
        backend: ``interpreter`` or ``compiled``; by default what the environment says
            (see :data:`~edge_agent.base.installed.BACKEND_VARIABLE`). Where a model
            does not run compiled, it is said and the interpreter runs it.

    Raises:
        ModelError: ``AGENT-MODEL-001`` the bytes do not load or run;
            ``AGENT-MODEL-002`` it loads, but needs what the device does not offer
            (texts, complex numbers, operators that it lacks, or no runtime is
            installed).
    """
    module = _runtime()[1]

    def make() -> Interpreter:
        made: Interpreter = module.Interpreter(model_content=data, num_threads=threads)
        return made

    try:
        model = _open(data, make, threads, backend or chosen_backend())
    except _FAILURES as error:
        if any(text in str(error) for text in _LACKS):
            raise ModelError(
                UNSERVED,
                f"model needs an operator that this runtime lacks: {error}",
                cure="convert it with built-in operators only, or update the runtime",
            ) from error
        raise ModelError(UNLOADABLE, f"model does not load: {error}") from error
    zeros = {spec.name: np.zeros(_smallest(spec), spec.dtype) for spec in model.inputs}
    for _ in range(warm_up):
        try:
            model.run(zeros)
        except ModelError as error:
            raise ModelError(UNLOADABLE, f"model does not run: {error.text}") from error
    return model


def _open(
    data: bytes, make: Callable[[], Interpreter], threads: int, backend: str
) -> Model:
    if backend == COMPILED:
        from edge_agent.runtime.compiled import NotCompiledError, open_compiled

        try:
            return open_compiled(data, make(), threads)
        except NotCompiledError as error:
            log.warning(NOT_COMPILED, extra={"why": str(error)})
    return InterpretedModel(make)


def runtime_name() -> str:
    """Return the runtime's name and version, such as ``ai-edge-litert 2.3.0``."""
    return f"{(name := _runtime()[0])} {installed_version(name)}"


def _smallest(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if n == ANY else n for n in spec.full_shape)


def _runtime() -> tuple[str, ModuleType]:
    # Plain import statements, so that the import law sees them.
    try:
        from ai_edge_litert import interpreter as litert
    except ModuleNotFoundError:
        pass
    else:
        return _PACKAGES[0], litert
    try:
        from tflite_runtime import interpreter as tflite
    except ModuleNotFoundError as error:
        raise ModelError(
            UNSERVED,
            "no TFLite runtime is installed",
            cure="install shoal[agent]",
        ) from error
    return _PACKAGES[1], tflite
