"""Operations that the installed TensorFlow is too old for, found before a model is loaded.

Source: the registries of TensorFlow 2.16.2 to 2.21.0 (`TF_GetAllOpList`), compared.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from beam_jobs.errors import UsageError
from beam_jobs.models.saved_model import attribute

ADDED = {
    "2.17": (
        "CalibrationStatisticsSaver",
        "ComputeDedupDataSizeV2",
        "ComputeDedupDataTupleMaskV2",
        "ConvertToListOfSparseCoreCooTensors",
        "ConvertToSparseCoreCsrWrappedCooTensor",
        "FinalizeTPUEmbeddingV2",
        "GetStatsFromListOfSparseCoreCooTensors",
        "GetTpuTaskId",
        "GlobalShuffleDataset",
        "IndexFlatMapDataset",
        "IteratorGetModelProto",
        "SortListOfSparseCoreCooTensors",
        "UpdateTaskIdAndGlobalCoreArray",
        "WeightedFlatMapDataset",
        "XlaRecvTPUEmbeddingActivationsV2",
        "XlaRecvTPUEmbeddingDeduplicationDataV2",
        "XlaSendTPUEmbeddingGradientsV2",
        "XlaSparseDenseMatmulGradWithAdagradAndStaticBufferSize",
        "XlaSparseDenseMatmulGradWithAdagradMomentumAndStaticBufferSize",
        "XlaSparseDenseMatmulGradWithAdamAndStaticBufferSize",
        "XlaSparseDenseMatmulGradWithFtrlAndStaticBufferSize",
        "XlaSparseDenseMatmulGradWithSgdAndStaticBufferSize",
        "XlaSparseDenseMatmulWithStaticBufferSize",
        "_MklNativeSparseMatrixMatMul",
        "_QuantizedMatMul",
    ),
    "2.18": (
        "CheckPinned",
        "XlaSparseDenseMatmulGradWithCsrInput",
    ),
    "2.20": (
        "DecodeWebP",
        "TPUDummyInput",
        "XlaSparseActivationsUnstack",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithAdagradAndCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithAdagradMomentumAndCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithAdamAndCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithFtrlAndCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcGradWithSgdAndCsrInput",
        "XlaSparseDenseMatmulCustomCombinerOnTcWithCsrInput",
        "XlaSparseGradientsStack",
    ),
    "2.21": ("DecodeJxl",),
}
"""{version of TensorFlow: operations that it was the first to have}, after 2.16."""

_FIRST = {op: version for version, ops in ADDED.items() for op in ops}

_INDICES = re.compile("GatherNd|(Resource|Tensor)?Scatter.*")
"""Operations that got the attribute `bad_indices_policy`."""

_SHARDY = 10
"""Version of `XlaCallModule` (JAX writes it) that TensorFlow 2.20 was the first to read."""


def check_ops(path: str, graph_def: Any) -> None:
    """Compares the operations of a graph, functions included, with the installed TensorFlow.

    Args:
        path: of the model, for the message.
        graph_def: of `parse_saved_model`.

    Raises:
        UsageError: one needs a newer TensorFlow; names both.
    """
    installed = metadata.version("tensorflow")
    newer = {
        use: version for use, version in _needs(graph_def) if _number(version) > _number(installed)
    }
    if newer:
        uses = ", ".join(sorted(newer))
        raise UsageError(
            f"--model {path}: needs TensorFlow {max(newer.values(), key=_number)} ({uses}), and"
            f" TensorFlow {installed} is installed; export it with that one, or run the job on a"
            " system of the current stack (README.md, Supported systems)"
        )


def _needs(graph_def: Any) -> Iterator[tuple[str, str]]:
    """(use of an operation, the first TensorFlow that can do it), of uses that 2.16 cannot do."""
    for nodes in (graph_def.node, *(f.node_def for f in graph_def.library.function)):
        for node in nodes:
            if node.op in _FIRST:
                yield node.op, _FIRST[node.op]
            elif node.op == "XlaCallModule" and attribute(node, "version").i >= _SHARDY:
                yield f"XlaCallModule of version {_SHARDY}", "2.20"
            # Empty is the default, with which older ones agree.
            elif _INDICES.fullmatch(node.op) and attribute(node, "bad_indices_policy").s:
                version = "2.17" if node.op == "GatherNd" else "2.18"
                yield f"{node.op} with bad_indices_policy", version


def _number(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
