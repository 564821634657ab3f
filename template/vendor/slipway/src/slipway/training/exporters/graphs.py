"""What exporters do with ONNX graphs."""

from __future__ import annotations

from typing import Any

from slipway.base.errors import MlopsError

#: The operators of a graph, and the form of its file, that onnxruntime reads.
OPSETS, IR_VERSION = {"": 18, "ai.onnx.ml": 3}, 9


def last(estimator: Any) -> Any:
    """What answers: the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def unconverted(estimator: Any, error: Exception) -> MlopsError:
    """What to say of an estimator whose conversion raised this error."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return MlopsError(
        f"{type(last(estimator)).__name__} in model.py cannot be converted to ONNX: {said[0]}",
        "use an estimator that vendor/slipway/docs/models.md lists, or keep it in its library's own format: "
        "model_format in params.yaml",
    )


def content(model: Any) -> bytes:
    """The bytes of a model, the same for the same model."""
    # Converters list these in the order of a set, which differs from process to process.
    model.opset_import.sort(key=lambda opset: opset.domain)
    serialized: bytes = model.SerializeToString()
    return serialized


def rename(graph: Any, before: str, after: str) -> None:
    """Give the last output of a graph another name; what had that name within the graph gets another one."""
    names = {before: after} if before == after else {before: after, after: f"{after}_within"}
    for node in graph.node:
        for held in (node.input, node.output):
            held[:] = [names.get(name, name) for name in held]
    for value in (*graph.initializer, *graph.value_info, *graph.output):
        value.name = names.get(value.name, value.name)


def as_matrix(model: Any, output: str) -> Any:
    """A model whose one output is a matrix: of a row's scores by class, where they were a dictionary, or of its score.

    What else the file says, such as when it was made, is left out, so that it is the same when it is made again.
    """
    from onnx import TensorProto, helper

    nodes = [node for node in model.graph.node if node.op_type != "ZipMap"]
    dictionaries = [node.input[0] for node in model.graph.node if node.op_type == "ZipMap"]
    scores = dictionaries[0] if dictionaries else model.graph.output[-1].name
    graph = helper.make_graph(
        nodes,
        "scores",
        list(model.graph.input),
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [None, None])],
        list(model.graph.initializer),
    )
    rename(graph, scores, output)
    imports = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
