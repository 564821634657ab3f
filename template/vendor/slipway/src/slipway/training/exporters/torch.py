"""Networks of PyTorch as ONNX graphs."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix
from slipway.training.exporters import graphs

#: The versions of a graph's file and of its operators that PyTorch writes by itself, and onnxruntime reads.
_OPSET = 18


class Torch:
    """See `Exporter` for what each of these is.

    An estimator keeps its fitted network in `module_`, as those of skorch do: a module of PyTorch that takes a matrix
    of features and gives the scores, with classes the probability of each.
    """

    def handles(self, estimator: Any) -> bool:
        """Whatever has such a network."""
        return "torch" in sys.modules and isinstance(
            getattr(estimator, "module_", None), sys.modules["torch"].nn.Module
        )

    def export(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """Have PyTorch follow the network with two rows, of which it learns that there may be any number."""
        import torch

        try:
            import onnxscript  # noqa: F401 - PyTorch needs it, and says so less well
        except ModuleNotFoundError as error:
            raise MlopsError(
                f"{type(estimator).__name__} in model.py cannot be converted to ONNX: onnxscript is not installed",
                "uv add --group train onnxscript",
            ) from error
        network, rows = estimator.module_.cpu().eval(), torch.from_numpy(sample[:2].copy())
        try:
            with _quiet():
                made = torch.onnx.export(
                    network,
                    (rows,),
                    dynamo=True,
                    opset_version=_OPSET,
                    input_names=["rows"],
                    output_names=[kind.output],
                    dynamic_shapes=({0: torch.export.Dim("many")},),
                    verbose=False,
                )
        except Exception as error:
            raise graphs.unconverted(estimator, error) from error
        return graphs.content(_bare(made.model_proto))


def _bare(model: Any) -> Any:
    """The graph without what tells where and when it was made."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for held in (model, model.graph, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del held.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch tells of its own workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
