"""The few fields of saved_model.pb that planning needs, read without TensorFlow.

Importing TensorFlow for its message classes costs seconds; here a private descriptor pool holds
the same messages with those fields alone. All others are unknown fields, which protocol buffers
skip. Attributes of nodes, most of a large graph, stay bytes until `attribute` asks for one. The
numbers of fields and types never change: SavedModels of years ago must stay readable.

Sources: `tensorflow/core/protobuf/saved_model.proto`, `meta_graph.proto`,
`tensorflow/core/framework/tensor_shape.proto`, `types.proto`, `graph.proto`, `node_def.proto`,
`function.proto`, `op_def.proto`, `attr_value.proto`, `tensor.proto`.
"""

import enum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as _Field

_PACKAGE = "beam_jobs.saved_model"


class DataType(enum.IntEnum):
    """`types.proto`; the names are those of `tf.DType.name`."""

    invalid = 0
    float32 = 1
    float64 = 2
    int32 = 3
    uint8 = 4
    int16 = 5
    int8 = 6
    string = 7
    complex64 = 8
    int64 = 9
    bool = 10
    qint8 = 11
    quint8 = 12
    qint32 = 13
    bfloat16 = 14
    qint16 = 15
    quint16 = 16
    uint16 = 17
    complex128 = 18
    float16 = 19
    resource = 20
    variant = 21
    uint32 = 22
    uint64 = 23
    float8_e5m2 = 24
    float8_e4m3fn = 25
    float8_e4m3fnuz = 26
    float8_e4m3b11fnuz = 27
    float8_e5m2fnuz = 28
    int4 = 29
    uint4 = 30
    int2 = 31
    uint2 = 32
    float4_e2m1fn = 33


REFERENCE = 100
"""Added to a type where the tensor is a variable of TensorFlow 1; its values are of the type."""


def parse_saved_model(data: bytes) -> Any:
    """A SavedModel message: meta_graphs with meta_info_def.tags, graph_def, signature_def.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    return _CLASSES["SavedModel"].FromString(data)


def attribute(node: Any, name: str) -> Any:
    """An AttrValue of a node; an empty one where the node has none of that name.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    wanted = name.encode()
    for entry in node.attr:
        # Field 1 of the entry, its length (attributes have short names), the name.
        if entry[2 : 2 + len(wanted)] == wanted and entry[1] == len(wanted):
            return _CLASSES["AttrEntry"].FromString(entry).value
    return _CLASSES["AttrValue"]()


def functions_called(node: Any) -> list[str]:
    """Names of the functions that a node calls, in the order of its attributes."""
    names = []
    for entry in node.attr:
        value = _CLASSES["CallEntry"].FromString(entry).value
        names += [f.name for f in (*value.list.func, value.func) if f.name]
    return names


def parse_tensor(data: bytes) -> Any:
    """A TensorProto.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    return _CLASSES["TensorProto"].FromString(data)


def dtype_name(number: int) -> str:
    """Name of a DataType, as TensorFlow gives it; of an unknown one its number."""
    number = number - REFERENCE if number > REFERENCE else number
    try:
        return DataType(number).name
    except ValueError:
        return f"type {number}"


def _message(name: str, *fields: _Field) -> descriptor_pb2.DescriptorProto:
    return descriptor_pb2.DescriptorProto(name=name, field=fields)


def _field(name: str, number: int, kind: int, *, repeated: bool = False) -> _Field:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    return _Field(name=name, number=number, type=kind, label=label)


def _child(name: str, number: int, of: str, *, repeated: bool = False) -> _Field:
    field = _field(name, number, _Field.TYPE_MESSAGE, repeated=repeated)
    field.type_name = f".{_PACKAGE}.{of}"
    return field


def _map_entry(name: str, value: str) -> descriptor_pb2.DescriptorProto:
    """`map<string, VALUE> field` is `repeated FieldEntry field` on the wire and in descriptors."""
    entry = _message(name, _field("key", 1, _Field.TYPE_STRING), _child("value", 2, value))
    entry.options.map_entry = True
    return entry


def _shape() -> descriptor_pb2.DescriptorProto:
    shape = _message(
        "TensorShapeProto",
        _child("dim", 2, "TensorShapeProto.Dim", repeated=True),
        _field("unknown_rank", 3, _Field.TYPE_BOOL),
    )
    shape.nested_type.append(_message("Dim", _field("size", 1, _Field.TYPE_INT64)))
    return shape


def _signature() -> list[descriptor_pb2.DescriptorProto]:
    tensor = _message(
        "TensorInfo",
        _field("name", 1, _Field.TYPE_STRING),
        _field("dtype", 2, _Field.TYPE_INT32),
        _child("tensor_shape", 3, "TensorShapeProto"),
        _child("coo_sparse", 4, "Skipped"),
        _child("composite_tensor", 5, "Skipped"),
    )
    tensor.oneof_decl.add(name="encoding")
    for field in tensor.field:
        if field.name in ("name", "coo_sparse", "composite_tensor"):
            field.oneof_index = 0
    signature = _message(
        "SignatureDef",
        _child("inputs", 1, "SignatureDef.InputsEntry", repeated=True),
        _child("outputs", 2, "SignatureDef.OutputsEntry", repeated=True),
        _field("method_name", 3, _Field.TYPE_STRING),
    )
    signature.nested_type.append(_map_entry("InputsEntry", "TensorInfo"))
    signature.nested_type.append(_map_entry("OutputsEntry", "TensorInfo"))
    return [_message("Skipped"), tensor, signature]


def _graph() -> list[descriptor_pb2.DescriptorProto]:
    text, data = _Field.TYPE_STRING, _Field.TYPE_BYTES
    function = _message(
        "FunctionDef",
        _child("signature", 1, "OpDef"),
        _child("node_def", 3, "NodeDef", repeated=True),
        _child("ret", 4, "RetEntry", repeated=True),
    )
    return [
        _message(
            "NodeDef",
            _field("name", 1, text),
            _field("op", 2, text),
            _field("input", 3, text, repeated=True),
            _field("attr", 5, data, repeated=True),  # `AttrEntry`s
        ),
        _message("ArgDef", _field("name", 1, text)),
        _message(
            "OpDef",
            _field("name", 1, text),
            _child("input_arg", 2, "ArgDef", repeated=True),
            _child("output_arg", 3, "ArgDef", repeated=True),
        ),
        _message("RetEntry", _field("key", 1, text), _field("value", 2, text)),
        function,
        _message("FunctionDefLibrary", _child("function", 1, "FunctionDef", repeated=True)),
        _message(
            "GraphDef",
            _child("node", 1, "NodeDef", repeated=True),
            _child("library", 2, "FunctionDefLibrary"),
        ),
    ]


def _attributes() -> list[descriptor_pb2.DescriptorProto]:
    data, int32, int64 = _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_INT64
    return [
        _message("NameAttrList", _field("name", 1, _Field.TYPE_STRING)),
        _message(
            "ListValue",
            _field("s", 2, data, repeated=True),
            _field("type", 6, int32, repeated=True),
            _child("shape", 7, "TensorShapeProto", repeated=True),
            _child("func", 9, "NameAttrList", repeated=True),
        ),
        _message(
            "AttrValue",
            _child("list", 1, "ListValue"),
            _field("s", 2, data),
            _field("i", 3, int64),
            _field("type", 6, int32),
            _field("tensor", 8, data),  # a `TensorProto`
            _child("func", 10, "NameAttrList"),
        ),
        _message("AttrEntry", _field("key", 1, data), _child("value", 2, "AttrValue")),
        # Of an attribute only what it calls: a large constant is skipped.
        _message("CallList", _child("func", 9, "NameAttrList", repeated=True)),
        _message("CallValue", _child("list", 1, "CallList"), _child("func", 10, "NameAttrList")),
        _message("CallEntry", _child("value", 2, "CallValue")),
        _message(
            "TensorProto",
            _field("dtype", 1, int32),
            _child("tensor_shape", 2, "TensorShapeProto"),
            _field("tensor_content", 4, data),
            _field("float_val", 5, _Field.TYPE_FLOAT, repeated=True),
            _field("double_val", 6, _Field.TYPE_DOUBLE, repeated=True),
            _field("int_val", 7, int32, repeated=True),
            _field("string_val", 8, data, repeated=True),
            _field("int64_val", 10, int64, repeated=True),
        ),
    ]


def _saved_model() -> list[descriptor_pb2.DescriptorProto]:
    graph = _message(
        "MetaGraphDef",
        _child("meta_info_def", 1, "MetaGraphDef.MetaInfoDef"),
        _child("graph_def", 2, "GraphDef"),
        _child("signature_def", 5, "MetaGraphDef.SignatureDefEntry", repeated=True),
    )
    tags = _field("tags", 4, _Field.TYPE_STRING, repeated=True)
    graph.nested_type.append(_message("MetaInfoDef", tags))
    graph.nested_type.append(_map_entry("SignatureDefEntry", "SignatureDef"))
    return [
        graph,
        _message("SavedModel", _child("meta_graphs", 2, "MetaGraphDef", repeated=True)),
    ]


def _classes() -> dict[str, Any]:
    messages = [_shape(), *_signature(), *_graph(), *_attributes(), *_saved_model()]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="beam_jobs/saved_model.proto",
            package=_PACKAGE,
            syntax="proto3",
            message_type=messages,
        )
    )
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}")
        )
        for message in messages
    }


_CLASSES = _classes()
