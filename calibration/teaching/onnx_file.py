"""An ONNX file as far as another bank changes it: nodes and constants, without the package onnx.

The box has OpenVINO, which reads ONNX and cannot write it; the package onnx would be one more
installation of tens of megabytes for a few fields. Fields are numbered in ``onnx.proto3`` and laid
out as Protocol Buffers say (protobuf.dev/programming-guides/encoding). What is not looked at is
written back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import BundleError, reading

# Numbers of fields.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_SHAPES = 1, 5, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 8, 20
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_VALUE_NAME = 1
# Kinds of attributes and of numbers.
_INT, _INTS = 2, 7
_NUMBERS = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
# Layouts of a field.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Attribute = int | Sequence[int]
_Field = tuple[int, int, int | bytes]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        inputs: names of tensors; an empty one where an optional input is left out.
        outputs: names.
        raw: the whole node as it stands in the file.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    raw: bytes


def make_node(
    kind: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute] | None = None
) -> Node:
    """A new operation with one output, which names it too.

    Args:
        kind: of operation, as ONNX calls it.
        inputs: names of tensors.
        output: name of the result.
        attributes: whole numbers or lists of them.
    """
    fields: list[_Field] = [(_NODE_INPUT, _BYTES, name.encode()) for name in inputs]
    fields += [(_NODE_OUTPUT, _BYTES, output.encode()), (_NODE_NAME, _BYTES, output.encode())]
    fields.append((_NODE_TYPE, _BYTES, kind.encode()))
    for name, value in (attributes or {}).items():
        attribute: list[_Field] = [(_ATTRIBUTE_NAME, _BYTES, name.encode())]
        if isinstance(value, int):
            attribute += [(_ATTRIBUTE_INT, _VARINT, value), (_ATTRIBUTE_TYPE, _VARINT, _INT)]
        else:
            attribute += [(_ATTRIBUTE_INTS, _VARINT, one) for one in value]
            attribute.append((_ATTRIBUTE_TYPE, _VARINT, _INTS))
        fields.append((_NODE_ATTRIBUTE, _BYTES, _packed(attribute)))
    return Node(tuple(inputs), (output,), _packed(fields))


class OnnxFile:
    """A model whose one graph can be changed.

    Args:
        path: an .onnx file with its weights inside.

    Attributes:
        nodes: in the order of computation.
        outputs: names of what the graph gives out.

    Raises:
        BundleError: no such file.
    """

    def __init__(self, path: Path) -> None:
        with reading(path, "an ONNX model", BundleError, "copy the bundle again"):
            self._model = list(_fields(path.read_bytes()))
            graph = next(value for number, _, value in self._model if number == _MODEL_GRAPH)
            fields = list(_fields(_as_bytes(graph)))
            self.nodes = [_node(raw) for raw in _of(fields, _GRAPH_NODE)]
            self._constants = {
                _text(raw, _TENSOR_NAME): raw for raw in _of(fields, _GRAPH_INITIALIZER)
            }
            self.outputs = [_text(raw, _VALUE_NAME) for raw in _of(fields, _GRAPH_OUTPUT)]
            # Shapes on the way are a hint that engines find out for themselves, and change.
            apart = (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SHAPES)
            self._rest = [field for field in fields if field[0] not in apart]

    @property
    def tensors(self) -> set[str]:
        """Names of all tensors that are constants or computed."""
        return {*self._constants, *(name for node in self.nodes for name in node.outputs)}

    def set_constant(self, name: str, value: npt.NDArray[np.generic]) -> None:
        """Add a constant, or put it in the place of one.

        Args:
            name: of the tensor.
            value: float32 or int64, any shape.
        """
        fields: list[_Field] = [(_TENSOR_DIMS, _VARINT, size) for size in value.shape]
        fields.append((_TENSOR_TYPE, _VARINT, _NUMBERS[value.dtype]))
        fields.append((_TENSOR_NAME, _BYTES, name.encode()))
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        fields.append((_TENSOR_RAW, _BYTES, little.tobytes()))
        self._constants[name] = _packed(fields)

    def compute(self, name: str, nodes: Sequence[Node]) -> None:
        """Let other operations compute a tensor; what only the old ones needed goes.

        Args:
            name: of the tensor; the last of ``nodes`` computes it.
            nodes: in their order.
        """
        place = next(at for at, node in enumerate(self.nodes) if name in node.outputs)
        # An earlier call may have given others the same names.
        named = {one for node in nodes for one in node.outputs}
        before, behind = (
            [node for node in some if named.isdisjoint(node.outputs)]
            for some in (self.nodes[:place], self.nodes[place:])
        )
        self.nodes = [*before, *nodes, *behind]
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self._constants = {one: raw for one, raw in self._constants.items() if one in needed}

    def to_bytes(self) -> bytes:
        """The file's content."""
        graph = [
            *((_GRAPH_NODE, _BYTES, node.raw) for node in self.nodes),
            *self._rest,
            *((_GRAPH_INITIALIZER, _BYTES, raw) for raw in self._constants.values()),
        ]
        model = [field for field in self._model if field[0] != _MODEL_GRAPH]
        return _packed([*model, (_MODEL_GRAPH, _BYTES, _packed(graph))])


def _node(raw: bytes) -> Node:
    fields = list(_fields(raw))
    inputs, outputs = (
        tuple(one.decode() for one in _of(fields, number)) for number in (_NODE_INPUT, _NODE_OUTPUT)
    )
    return Node(inputs, outputs, raw)


def _of(fields: Iterable[_Field], number: int) -> list[bytes]:
    return [_as_bytes(value) for found, _, value in fields if found == number]


def _text(message: bytes, number: int) -> str:
    return next(iter(_of(_fields(message), number))).decode()


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("expected text or a message, found a number")  # noqa: TRY004
    return value


def _fields(message: bytes) -> Iterator[_Field]:
    """Number, layout and value of every field of a message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, layout = tag >> 3, tag & 7
        if layout == _VARINT:
            value, at = _varint(message, at)
            yield number, layout, value
            continue
        if layout == _BYTES:
            size, at = _varint(message, at)
        elif layout in (_FIXED64, _FIXED32):
            size = 8 if layout == _FIXED64 else 4
        else:
            raise ValueError(f"field {number} has the unknown layout {layout}")
        if at + size > len(message):
            raise ValueError(f"field {number} goes on after the end")
        yield number, layout, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _packed(fields: Iterable[_Field]) -> bytes:
    parts: list[bytes] = []
    for number, layout, value in fields:
        parts.append(_as_varint(number << 3 | layout))
        if isinstance(value, int):
            parts.append(_as_varint(value))
            continue
        if layout == _BYTES:
            parts.append(_as_varint(len(value)))
        parts.append(value)
    return b"".join(parts)


def _as_varint(value: int) -> bytes:
    # Negative numbers are written as 64 bits.
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
