"""Whether a model remembers one sample when it answers the next.

Such a model (a recurrent net with its state in variables) can only be compared on
stretches of consecutive samples, each from a fresh state. The file is not trusted, and
read with the reader that patches use.
"""

import struct

from edge_agent.delta.tflite import FlatReader

_MODEL_OPERATOR_CODES, _MODEL_SUBGRAPHS = 1, 2
_CODE_OLD, _CODE = 0, 3
_SUBGRAPH_TENSORS, _TENSOR_IS_VARIABLE = 0, 5
_STATEFUL = frozenset({129, 142, 143, 144})
"""CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE of the TFLite schema."""


def keeps_state(model: bytes) -> bool:
    """Tell whether a TFLite file has variables: tensors that are, or operators on some.

    A file that cannot be read has none; it does not load either.
    """
    reader = FlatReader(model)
    try:
        root = reader.offset_at(0)
        return _uses_variables(reader, root) or any(
            reader.number(tensor, _TENSOR_IS_VARIABLE, "<b")
            for graph in reader.tables(root, _MODEL_SUBGRAPHS)
            for tensor in reader.tables(graph, _SUBGRAPH_TENSORS)
        )
    except (struct.error, ValueError):
        return False


def _uses_variables(reader: FlatReader, root: int) -> bool:
    # Older files have the code in a byte, newer ones where it fits in both places.
    return any(
        max(reader.number(code, _CODE_OLD, "<b"), reader.number(code, _CODE, "<i"))
        in _STATEFUL
        for code in reader.tables(root, _MODEL_OPERATOR_CODES)
    )
