"""Models that need a newer TensorFlow, against the registry of the installed one."""

from importlib import metadata
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from beam_jobs.errors import UsageError
from beam_jobs.models.newer_ops import ADDED, check_ops
from beam_jobs.models.registry import ModelLocation
from beam_jobs.models.saved_model import parse_saved_model
from beam_jobs.models.signature import read_signature


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def installed_is(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: version)


def graph_of(node: graph_pb2.GraphDef) -> object:
    """The graph as the plan reads it."""
    saved = saved_model_pb2.SavedModel()
    saved.meta_graphs.add().graph_def.CopyFrom(node)
    return parse_saved_model(saved.SerializeToString()).meta_graphs[0].graph_def


def one_node(op: str, **attributes: str | int) -> graph_pb2.GraphDef:
    graph = graph_pb2.GraphDef()
    node = graph.node.add(name="one", op=op)
    for name, value in attributes.items():
        if isinstance(value, int):
            node.attr[name].i = value
        else:
            node.attr[name].s = value.encode()
    return graph


def test_tensorflow_has_the_operations_that_its_version_should_have() -> None:
    every = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    registered = {op.name for op in op_def_pb2.OpList.FromString(every).op}
    for version, ops in ADDED.items():
        has = registered & set(ops)
        expected = set(ops) if number(tf.__version__) >= number(version) else set()
        assert has == expected, version


@pytest.mark.parametrize(
    ("graph", "needs"),
    [
        (one_node("DecodeWebP"), "TensorFlow 2.20 (DecodeWebP), and TensorFlow 2.16.2 is"),
        (one_node("GlobalShuffleDataset"), "TensorFlow 2.17 (GlobalShuffleDataset), and"),
        (one_node("XlaCallModule", version=10), "TensorFlow 2.20 (XlaCallModule of version 10)"),
        (
            one_node("GatherNd", bad_indices_policy="IGNORE"),
            "TensorFlow 2.17 (GatherNd with bad_indices_policy)",
        ),
        (
            one_node("ScatterNd", bad_indices_policy="IGNORE"),
            "TensorFlow 2.18 (ScatterNd with bad_indices_policy)",
        ),
    ],
    ids=lambda value: value.node[0].op if isinstance(value, graph_pb2.GraphDef) else "",
)
def test_what_is_newer_is_named(
    graph: graph_pb2.GraphDef, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_is(monkeypatch, "2.16.2")
    with pytest.raises(UsageError) as refused:
        check_ops("models/ads", graph_of(graph))
    assert str(refused.value).startswith(f"--model models/ads: needs {needs}")
    installed_is(monkeypatch, "2.21.0")
    check_ops("models/ads", graph_of(graph))


def test_operations_of_functions_count_and_the_newest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = one_node("GlobalShuffleDataset")
    graph.library.function.add().node_def.add(name="inside", op="DecodeJxl")
    installed_is(monkeypatch, "2.9.1")
    with pytest.raises(UsageError, match=r"needs TensorFlow 2.21 \(DecodeJxl, GlobalShuffle"):
        check_ops("models/ads", graph_of(graph))


@pytest.mark.parametrize(
    "graph",
    [
        one_node("MatMul"),
        one_node("XlaCallModule", version=9),
        one_node("GatherNd", bad_indices_policy=""),
        one_node("OfALibrary"),
    ],
    ids=lambda graph: graph.node[0].op,
)
def test_what_the_earlier_one_can_do_is_not_refused(
    graph: graph_pb2.GraphDef, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_is(monkeypatch, "2.16.2")
    check_ops("models/ads", graph_of(graph))


def test_a_model_is_refused_as_its_signature_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = saved_model_pb2.SavedModel()
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.graph_def.CopyFrom(one_node("DecodeWebP"))
    _ = meta.signature_def["serving_default"]
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    installed_is(monkeypatch, "2.16.2")
    with pytest.raises(UsageError, match="DecodeWebP"):
        read_signature(ModelLocation(str(tmp_path), "1", "0"), "serving_default")
