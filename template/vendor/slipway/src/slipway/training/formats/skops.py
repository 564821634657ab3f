"""skops: estimators of scikit-learn, pipelines of them and of other libraries, as data and names of types.

Loading imports the types that a file names and sets their state, so each type must be trusted: skops trusts those that
scikit-learn, scipy and numpy promise, and the team names others in `params.yaml`. Nothing is unpickled.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slipway.base.errors import MlopsError
from slipway.kinds.base import Kind, Matrix, Scores
from slipway.training.formats.base import Scoring, unkept

#: What lists the types in a file, and how objects are named there: by where they lay in memory, or at random.
_SCHEMA, _ADDRESS = "schema.json", re.compile(r'("__id__": |"file": ")([\w-]+)')
_MODULE = re.compile(r'"__module__": "([A-Za-z0-9_]+)')
#: Their arrays mean the same in every version.
_ARRAYS = {"builtins", "numpy", "scipy"}


class SkopsFormat:
    """See `ModelFormat` for what each of these is."""

    name, file, platform = "skops", "model.skops", "sklearn_skops"
    packages = ("skops",)

    def handles(self, estimator: Any) -> bool:
        """Whatever follows the conventions of scikit-learn."""
        from sklearn.base import BaseEstimator

        return isinstance(estimator, BaseEstimator)

    def content(self, estimator: Any, kind: Kind, sample: Matrix) -> bytes:
        """What skops writes, with objects named by their order."""
        import skops.io

        del kind, sample
        try:
            return _renamed(skops.io.dumps(estimator))
        except Exception as error:  # whatever a state holds that skops does not know
            raise unkept(estimator, self.name, error) from error

    def modules(self, path: Path) -> Sequence[str]:
        """The libraries of all types in the file."""
        with zipfile.ZipFile(path) as file:
            return sorted({*_MODULE.findall(file.read(_SCHEMA).decode())} - _ARRAYS)

    def load(self, path: Path, kind: Kind, *, threads: int, trusted: Sequence[str]) -> Scoring:
        """The estimator, if the file holds no other types than the usual and the `trusted` ones."""
        import skops.io
        from threadpoolctl import ThreadpoolController

        if others := sorted({*skops.io.get_untrusted_types(file=path)} - {*trusted}):
            raise MlopsError(
                f"{self.file} holds types that are not trusted: {', '.join(others)}",
                "look at what each of them does when its state is set; then list them in params.yaml, "
                "model_format.trusted",
            )
        estimator = skops.io.load(path, trusted=[*trusted])
        own = [name for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"]
        estimator.set_params(**dict.fromkeys(own, threads or -1))
        return partial(_scored, estimator, kind, ThreadpoolController(), threads or None)


def _scored(estimator: Any, kind: Kind, pools: Any, threads: int | None, rows: Matrix) -> Scores:
    with pools.limit(limits=threads):
        return np.asarray(kind.predicted(estimator, rows), dtype=np.float32)


def _renamed(content: bytes) -> bytes:
    """The same file, the same bytes for the same estimator: skops names objects by their addresses, or at random."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        schema = file.read(_SCHEMA).decode()
        addresses = dict.fromkeys(address for _, address in _ADDRESS.findall(schema))
        numbers = {address: str(number) for number, address in enumerate(addresses)}
        parts = {_numbered(name, numbers): file.read(name) for name in file.namelist()}
    parts[_SCHEMA] = _ADDRESS.sub(lambda found: found[1] + numbers[found[2]], schema).encode()
    renamed = io.BytesIO()
    with zipfile.ZipFile(renamed, "w") as file:
        for name in sorted(parts):
            file.writestr(zipfile.ZipInfo(name), parts[name], zipfile.ZIP_DEFLATED)
    return renamed.getvalue()


def _numbered(name: str, numbers: Mapping[str, str]) -> str:
    address, point, ending = name.partition(".")
    return numbers.get(address, address) + point + ending
