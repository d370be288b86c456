"""The few fields of saved_model.pb that planning needs, read without TensorFlow.

Importing TensorFlow for its message classes costs seconds; here a private descriptor pool holds
the same messages with those fields alone. All others (the graph, above all) are unknown fields,
which protocol buffers skip. The numbers of fields and types never change: SavedModels of years
ago must stay readable.

Sources: `tensorflow/core/protobuf/saved_model.proto`, `meta_graph.proto`,
`tensorflow/core/framework/tensor_shape.proto`, `types.proto`.
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
    int4 = 29
    uint4 = 30


REFERENCE = 100
"""Added to a type where the tensor is a variable of TensorFlow 1; its values are of the type."""


def parse_saved_model(data: bytes) -> Any:
    """A SavedModel message: meta_graphs with meta_info_def.tags, graph_def's ops, signature_def.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    return _SAVED_MODEL.FromString(data)


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


def _saved_model_class() -> Any:
    text, boolean = _Field.TYPE_STRING, _Field.TYPE_BOOL
    shape = _message(
        "TensorShapeProto",
        _child("dim", 2, "TensorShapeProto.Dim", repeated=True),
        _field("unknown_rank", 3, boolean),
    )
    shape.nested_type.append(_message("Dim", _field("size", 1, _Field.TYPE_INT64)))
    tensor = _message(
        "TensorInfo",
        _field("name", 1, text),
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
        _field("method_name", 3, text),
    )
    signature.nested_type.append(_map_entry("InputsEntry", "TensorInfo"))
    signature.nested_type.append(_map_entry("OutputsEntry", "TensorInfo"))
    graph = _message(
        "MetaGraphDef",
        _child("meta_info_def", 1, "MetaGraphDef.MetaInfoDef"),
        _child("graph_def", 2, "GraphDef"),
        _child("signature_def", 5, "MetaGraphDef.SignatureDefEntry", repeated=True),
    )
    graph.nested_type.append(_message("MetaInfoDef", _field("tags", 4, text, repeated=True)))
    graph.nested_type.append(_map_entry("SignatureDefEntry", "SignatureDef"))
    node = _message("NodeDef", _field("op", 2, text))
    nodes = _message("GraphDef", _child("node", 1, "NodeDef", repeated=True))
    saved = _message("SavedModel", _child("meta_graphs", 2, "MetaGraphDef", repeated=True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="beam_jobs/saved_model.proto",
            package=_PACKAGE,
            syntax="proto3",
            message_type=[
                _message("Skipped"),
                shape,
                tensor,
                signature,
                node,
                nodes,
                graph,
                saved,
            ],
        )
    )
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.SavedModel"))


_SAVED_MODEL = _saved_model_class()
