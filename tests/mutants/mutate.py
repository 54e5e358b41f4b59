"""Mutations of a model file: blind ones of its bytes, and ones that keep it readable.

Blind mutations mostly fail where the file is read. The others unpack the flatbuffer,
corrupt one field and pack it again, so the runtime's verifier has nothing to object to
and the damage reaches its kernels. All randomness is the caller's. The format's own
code comes with LiteRT's package, so beside the older runtime all mutants are blind.
"""

import random
from collections.abc import Callable
from typing import Any

from edge_agent.runtime.trial import must_be_tried

IDENTIFIER = b"TFL3"
TAIL_BYTES = 6000
DIMENSIONS = (-1, 0, 1, 2, 3, 255, 1 << 16, (1 << 31) - 1)
INTEGERS = (-(1 << 31), -1, 0, 1, 2, 7, 127, 1 << 16, (1 << 31) - 1)
REALS = (float("nan"), float("inf"), -1.0, 0.0, 1e-38, 1e38)
LAST_TYPE, LAST_OPCODE, PLACEHOLDER = 18, 208, 127

Dice = random.Random
Blind = Callable[[Dice, bytearray, bytes], bytes]
Model = Any
"""A ``schema.ModelT``; the generated code has no types."""


def _truncate(dice: Dice, data: bytearray, _other: bytes) -> bytes:
    return bytes(data[: dice.randrange(len(data))])


def _flip(dice: Dice, data: bytearray, bits: int) -> bytes:
    for _ in range(bits):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def _tail(dice: Dice, data: bytearray, _other: bytes) -> bytes:
    start = max(0, len(data) - TAIL_BYTES)
    for _ in range(dice.randint(1, 16)):
        data[dice.randrange(start, len(data))] = dice.randrange(256)
    return bytes(data)


def _zero_run(dice: Dice, data: bytearray, _other: bytes) -> bytes:
    start = dice.randrange(len(data))
    end = min(len(data), start + dice.randint(1, 256))
    data[start:end] = bytes(end - start)
    return bytes(data)


def _splice(dice: Dice, data: bytearray, other: bytes) -> bytes:
    size = dice.randint(1, min(1024, len(other)))
    source = dice.randrange(len(other) - size + 1)
    place = dice.randrange(len(data))
    data[place : place + size] = other[source : source + size]
    return bytes(data)


BLIND: dict[str, Blind] = {
    "truncate": _truncate,
    "flip 1": lambda dice, data, _: _flip(dice, data, 1),
    "flip 8": lambda dice, data, _: _flip(dice, data, 8),
    "tail": _tail,
    "zero run": _zero_run,
    "splice": _splice,
}


def _shape(dice: Dice, model: Model) -> None:
    tensor = dice.choice(_graph(dice, model).tensors)
    shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
    if shape and dice.random() < 0.75:
        place = dice.randrange(len(shape))
        shape[place] = dice.choice((*DIMENSIONS, shape[place] + 1, shape[place] - 1))
    elif shape and dice.random() < 0.5:
        shape.pop()
    else:
        shape.append(dice.choice(DIMENSIONS))
    tensor.shape = shape


def _type(dice: Dice, model: Model) -> None:
    dice.choice(_graph(dice, model).tensors).type = dice.randint(0, LAST_TYPE)


def _op_tensor(dice: Dice, model: Model, which: str) -> None:
    graph = _graph(dice, model)
    operator = dice.choice(graph.operators)
    _corrupt_index(dice, operator, which, len(graph.tensors))


def _opcode(dice: Dice, model: Model) -> None:
    if dice.random() < 0.5:
        operator = dice.choice(_graph(dice, model).operators)
        operator.opcodeIndex = dice.randrange(len(model.operatorCodes) + 1)
        return
    code = dice.choice(model.operatorCodes)
    code.builtinCode = dice.randint(0, LAST_OPCODE)
    code.deprecatedBuiltinCode = min(code.builtinCode, PLACEHOLDER)


def _buffer(dice: Dice, model: Model) -> None:
    if dice.random() < 0.5:
        tensor = dice.choice(_graph(dice, model).tensors)
        tensor.buffer = dice.randrange(len(model.buffers) + 2)
        return
    filled = [b for b in model.buffers if b.data is not None and len(b.data)]
    chosen = dice.choice(filled)
    chosen.data = chosen.data[: dice.randrange(len(chosen.data))]


def _quantization(dice: Dice, model: Model) -> None:
    tensor = dice.choice(_graph(dice, model).tensors)
    if tensor.quantization is None:
        tensor.quantization = _schema().QuantizationParametersT()
    count = dice.choice((0, 1, 2, 7))
    match dice.randrange(3):
        case 0:
            tensor.quantization.scale = [dice.choice(REALS) for _ in range(count)]
        case 1:
            tensor.quantization.zeroPoint = [
                dice.choice(INTEGERS) for _ in range(count)
            ]
        case _:
            tensor.quantization.quantizedDimension = dice.choice(INTEGERS)


def _options(dice: Dice, model: Model) -> None:
    graph = _graph(dice, model)
    with_options = [o for o in graph.operators if o.builtinOptions is not None]
    operator = dice.choice(with_options or graph.operators)
    options = operator.builtinOptions
    fields = [] if options is None else list(vars(options))
    if not fields or dice.random() < 0.2:
        operator.builtinOptions = None
        operator.builtinOptionsType = 0
        return
    name = dice.choice(fields)
    old = getattr(options, name)
    if isinstance(old, bool):
        setattr(options, name, not old)
    elif isinstance(old, int):
        setattr(options, name, dice.choice((-1, 0, 1, 2, 3, 5, 100)))
    elif isinstance(old, float):
        setattr(options, name, dice.choice(REALS))
    else:
        setattr(options, name, None)


def _graph_ends(dice: Dice, model: Model) -> None:
    graph = _graph(dice, model)
    if model.signatureDefs and dice.random() < 0.3:
        ends = [*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs]
        dice.choice(ends).tensorIndex = dice.randrange(len(graph.tensors) + 2)
        return
    _corrupt_index(dice, graph, dice.choice(("inputs", "outputs")), len(graph.tensors))


def _corrupt_index(dice: Dice, holder: Any, which: str, tensors: int) -> None:  # noqa: ANN401 - generated types
    found = getattr(holder, which)
    indices = [] if found is None else [int(n) for n in found]
    if indices and dice.random() < 0.8:
        indices[dice.randrange(len(indices))] = dice.randint(-2, tensors + 1)
    elif indices and dice.random() < 0.5:
        indices.pop()
    else:
        indices.append(dice.randrange(tensors))
    setattr(holder, which, indices)


def _graph(dice: Dice, model: Model) -> Any:  # noqa: ANN401 - generated types
    return dice.choice(model.subgraphs)


STRUCTURAL: dict[str, Callable[[Dice, Model], None]] = {
    "shape": _shape,
    "type": _type,
    "op inputs": lambda dice, model: _op_tensor(dice, model, "inputs"),
    "op outputs": lambda dice, model: _op_tensor(dice, model, "outputs"),
    "opcode": _opcode,
    "buffer": _buffer,
    "quantization": _quantization,
    "options": _options,
    "graph ends": _graph_ends,
}
KINDS = tuple(BLIND) if must_be_tried() else (*BLIND, *STRUCTURAL)


def unpack(data: bytes) -> Model:
    """Return a model file as objects that can be changed."""
    return _schema().ModelT.InitFromPackedBuf(data, 0)


def pack(model: Model) -> bytes:
    """Return the file of a model.

    Raises:
        Exception: What was changed does not fit into the file's format.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _schema() -> Any:  # noqa: ANN401 - generated code without types
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def mutate(dice: Dice, kind: str, data: bytes, other: bytes) -> bytes:
    """Return one mutant that differs from ``data``.

    Args:
        dice: Randomness.
        kind: One of :data:`KINDS`.
        data: The file.
        other: Another file, to splice from.
    """
    for _ in range(100):
        try:
            made = _mutate_once(dice, kind, data, other)
        except Exception:  # noqa: BLE001, S112 - it does not fit into a flatbuffer
            continue
        if made != data:
            return made
    raise ValueError(f"{kind} makes no mutant of these {len(data)} bytes")


def _mutate_once(dice: Dice, kind: str, data: bytes, other: bytes) -> bytes:
    if kind in BLIND:
        return BLIND[kind](dice, bytearray(data), other)
    model = unpack(data)
    STRUCTURAL[kind](dice, model)
    return pack(model)
