"""ONNX: what exporters make of an estimator, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix, Scores
from slipway.training.formats.base import Scoring


class OnnxModel:
    """An ONNX model that scores rows. Raises `MlopsError` when it has not the output of its kind."""

    def __init__(self, path: Path, kind: Kind, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A thread that waits must not hold the core that reads the next rows of a batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._kind, self._outputs = kind, [kind.output]
        if kind.output not in (outputs := [output.name for output in self._session.get_outputs()]):
            raise MlopsError(
                f"{path.name} has no output {kind.output} with the scores of a {kind.name}, but {', '.join(outputs)}",
                "have its exporter give the output that name",
            )

    def __call__(self, stacked: Matrix) -> Scores:
        """Score each row of a feature matrix."""
        return self._kind.scores(self._session.run(self._outputs, {self._input: stacked})[0])


class OnnxFormat:
    """See `ModelFormat` for what each of these is."""

    name, file, platform = "onnx", "model.onnx", "onnx_onnxv1"
    packages: Sequence[str] = ()

    def handles(self, estimator: Any) -> bool:
        """Whatever an exporter may know."""
        del estimator
        return True

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """The graph that the estimator's exporter makes."""
        from slipway.training import exporters

        return exporters.of(estimator).export(estimator, kind, sample)

    def modules(self, path: Path) -> Sequence[str]:
        """None: a graph names the operators that it needs."""
        del path
        return ()

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """A session of onnxruntime."""
        del trusted
        return OnnxModel(path, kind, threads)
