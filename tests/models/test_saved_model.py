"""Reading saved_model.pb without TensorFlow, held equal to TensorFlow's own messages."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from beam_jobs.errors import UsageError
from beam_jobs.models.registry import ModelLocation
from beam_jobs.models.saved_model import (
    DataType,
    attribute,
    dtype_name,
    functions_called,
    parse_saved_model,
    parse_tensor,
)
from beam_jobs.models.signature import read_signature

v1 = tf.compat.v1


def keras_model(folder: str) -> None:
    inputs = {"bid": keras.Input((1,), name="bid"), "sizes": keras.Input((3,), name="sizes")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    keras.Model(inputs, keras.layers.Dense(2)(joined)).export(folder, verbose=False)


def module(folder: str) -> None:
    class Module(tf.Module):  # type: ignore[misc]
        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec([None], tf.string, "text"),
                tf.TensorSpec(None, tf.int32, "any"),
                tf.TensorSpec([], tf.bool, "scalar"),
            ]
        )
        def serve(self, text: tf.Tensor, any: tf.Tensor, scalar: tf.Tensor) -> dict[str, Any]:
            return {"length": tf.strings.length(text), "same": any, "flag": scalar}

    made = Module()
    tf.saved_model.save(made, folder, {"serving_default": made.serve, "other": made.serve})


def session_model(folder: str) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        bid = v1.placeholder(tf.float64, [None], "bid")
        weight = v1.get_variable("weight", initializer=2.0, dtype=tf.float32)
        score = tf.cast(bid, tf.float32) * weight
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, folder, {"bid": bid}, {"score": score, "half": bid})


def session_model_with_a_sparse_input(folder: str) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        ids = v1.sparse_placeholder(tf.int64, [None, 5], "ids")
        score = tf.reshape(tf.sparse.reduce_sum(tf.cast(ids, tf.float32), 1), [-1])
        v1.saved_model.simple_save(session, folder, {"ids": ids}, {"score": score})


EXPORTS = [keras_model, module, session_model, session_model_with_a_sparse_input]


@pytest.fixture(scope="module", params=EXPORTS, ids=lambda export: export.__name__)
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("exports") / request.param.__name__
    request.param(str(folder))
    found: bytes = (folder / "saved_model.pb").read_bytes()
    return found


def tensors(infos: dict[str, Any], name_of: Callable[[int], str]) -> dict[str, Any]:
    return {
        key: (
            info.name,
            name_of(info.dtype),
            [dim.size for dim in info.tensor_shape.dim],
            info.tensor_shape.unknown_rank,
            info.WhichOneof("encoding"),
        )
        for key, info in infos.items()
    }


def everything(saved: Any, name_of: Callable[[int], str]) -> list[Any]:
    """All that the light messages know, of either kind of message."""
    return [
        (
            list(graph.meta_info_def.tags),
            {
                key: (
                    signature.method_name,
                    tensors(signature.inputs, name_of),
                    tensors(signature.outputs, name_of),
                )
                for key, signature in graph.signature_def.items()
            },
        )
        for graph in saved.meta_graphs
    ]


def test_what_is_read_is_what_tensorflow_reads(data: bytes) -> None:
    theirs = everything(saved_model_pb2.SavedModel.FromString(data), tensorflow_name)
    assert everything(parse_saved_model(data), dtype_name) == theirs
    assert any(signatures for _, signatures in theirs)


def test_nodes_functions_and_what_they_call_are_those_of_tensorflow(data: bytes) -> None:
    """Attributes are read one by one, on demand."""
    theirs = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0].graph_def
    ours = parse_saved_model(data).meta_graphs[0].graph_def
    bodies = [(ours.node, theirs.node)]
    for mine, their in zip(ours.library.function, theirs.library.function, strict=True):
        assert mine.signature.name == their.signature.name
        for args in ("input_arg", "output_arg"):
            names = [arg.name for arg in getattr(their.signature, args)]
            assert [arg.name for arg in getattr(mine.signature, args)] == names
        assert {entry.key: entry.value for entry in mine.ret} == dict(their.ret)
        bodies.append((mine.node_def, their.node_def))
    for mine, their in bodies:
        for node, known in zip(mine, their, strict=True):
            assert (node.name, node.op, list(node.input)) == (known.name, known.op, known.input)
            called = [known.attr[name].func.name for name in known.attr]
            assert functions_called(node) == [name for name in called if name]
            assert attribute(node, "dtype").type == known.attr["dtype"].type
            assert attribute(node, "no such").type == 0
            if known.op == "Const":
                tensor = parse_tensor(attribute(node, "value").tensor)
                assert tensor.SerializeToString() == known.attr["value"].tensor.SerializeToString()


def tensorflow_name(number: int) -> str:
    # TensorFlow's own signatures (__saved_model_init_op) give tensors without a type.
    return "invalid" if number == types_pb2.DT_INVALID else tf.as_dtype(number).name


def test_types_are_numbered_and_named_as_in_tensorflow() -> None:
    numbers = [number for number in types_pb2.DataType.values() if number < 100]
    later = {26, 27, 28, 31, 32, 33}  # than TensorFlow 2.16
    assert {d.value for d in DataType} - set(numbers) in (set(), later)
    assert list(map(dtype_name, numbers)) == list(map(tensorflow_name, numbers))
    assert [d.value for d in DataType] == sorted(d.value for d in DataType)
    assert dtype_name(types_pb2.DT_FLOAT_REF) == "float32"
    assert dtype_name(77) == "type 77"


def written(folder: Path, signature: meta_graph_pb2.SignatureDef) -> ModelLocation:
    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.signature_def["serving_default"].CopyFrom(signature)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return ModelLocation(str(folder), "1", "0")


@pytest.mark.parametrize(
    ("role", "encoding", "message"),
    [
        ("inputs", "coo_sparse", "input 'ids' is a SparseTensor; export"),
        ("outputs", "coo_sparse", "output 'ids' is a SparseTensor; export"),
        ("inputs", "composite_tensor", r"input 'ids' is a composite tensor \(ragged"),
    ],
)
def test_what_is_not_dense_is_refused(
    tmp_path: Path, role: str, encoding: str, message: str
) -> None:
    signature = meta_graph_pb2.SignatureDef()
    getattr(getattr(signature, role)["ids"], encoding).SetInParent()
    location = written(tmp_path, signature)
    with pytest.raises(UsageError, match=f"--signature serving_default: {message}"):
        read_signature(location, "serving_default")


@pytest.mark.parametrize("data", [b"\xff\xff", b"not a model", b""], ids=["noise", "text", "empty"])
def test_what_is_no_saved_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(data)
    with pytest.raises(UsageError, match=f"--model {tmp_path}: (is not a SavedModel|has no graph)"):
        read_signature(ModelLocation(str(tmp_path), "1", "0"), "serving_default")


def test_planning_needs_no_tensorflow() -> None:
    """It would take seconds: `--plan` and a run that stands already answer in one."""
    code = (
        "import sys, beam_jobs.commands.execute, beam_jobs.warehouse.duckdb\n"
        "heavy = {'tensorflow', 'tensorflow_data_validation', 'apache_beam', 'tfx_bsl', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
