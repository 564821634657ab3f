"""The bundle: one folder with everything a registered model is, and one digest over all of it.

    model.onnx          the model, in a format that runs no code when it is loaded; a library's own has another ending
    model.json          what it answers, its features in order, its threshold
    contract.json       what a request must look like
    golden.json         a few rows with their scores: proof that features and model still agree
    reference.parquet   training rows with their scores: what monitoring compares requests with
    tested.parquet      scores and outcomes of test rows, not learned from: what it compares answers with
    expected.json       both in a few numbers, what live metrics are compared with
    metrics.json        quality on the test rows, by slice, beside the baseline
    card.md             the model card
    lineage.json        commit, data, lock, run: added when the bundle is sealed
    *.whl               the code that answers with the model, added then, too
    requirements.txt    that code and its dependencies, each with its hash
    sbom.json           the same as a bill of materials
    SHA256SUMS          a digest of each file; its own digest names the bundle

`sha256sum -c SHA256SUMS` checks a bundle without any of this code.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.files import sha256, write_json
from slipway.data.dvc import DataVersion
from slipway.data.origins import Snapshot
from slipway.training import formats
from slipway.training.histogram import Histogram

SUMS = "SHA256SUMS"


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`model.json`. `kind` names what kind of answer it gives: see `kinds`.

    Where that is one of several `classes`, each has its `threshold`. `format` is that of the model's file: see
    `formats`. A library's own is read by the very versions of the `libraries` that wrote it, and may hold the
    `trusted` types beside the usual ones.
    """

    name: str
    answer: str
    kind: str
    threshold: float | list[float]
    features: list[str]
    contract: str
    classes: list[str] = []
    format: str = formats.ONNX.name
    libraries: dict[str, str] = {}
    trusted: list[str] = []


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """`golden.json`: rows as a client would send them, with the scores the model gave when it was exported.

    Of several classes, each row has a list of scores. `usual` is one more such row, of medians and most frequent
    values; older bundles have none.
    """

    rows: list[dict[str, Any]]
    scores: list[float | list[float]]
    usual: dict[str, Any] | None = None


class Bias(msgspec.Struct, frozen=True, kw_only=True):
    """By how much what happened exceeds what a model expected, on average, with its standard error from `days` days."""

    value: float
    error: float
    days: int


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """`expected.json`: how scores of test rows spread, and which part of each field's values training rows miss.

    `scores` has the bounds that the scores of live rows are counted by, `bias` is that of the test rows. The oldest
    bundles have no such file; where a bundle has no `tested.parquet`, scores and bias are of the training rows.
    """

    scores: Histogram = msgspec.field(default_factory=lambda: Histogram.of([]))
    missing: dict[str, float] = {}
    bias: Bias | None = None


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`lineage.json`: where a model came from. A field without a value refuses the registration.

    `snapshot` is there where raw data is taken from a query or a bucket.
    """

    commit: str
    repository: str
    run_id: str
    pipeline: str
    data: list[DataVersion]
    lock: str
    python: str
    platform: str
    snapshot: Snapshot | None = None

    def missing(self) -> list[str]:
        """Names of fields that hold nothing."""
        return [name for name in self.__struct_fields__ if name != "snapshot" and not getattr(self, name)]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path

    @cached_property
    def model(self) -> ModelFacts:
        """What the model answers and from what."""
        return msgspec.json.decode(self._read("model.json"), type=ModelFacts)

    @cached_property
    def golden(self) -> Golden:
        """Rows with known scores."""
        return msgspec.json.decode(self._read("golden.json"), type=Golden)

    @cached_property
    def expected(self) -> Expected:
        """What live metrics are compared with; nothing in an older bundle."""
        if not (self.path / "expected.json").is_file():
            return Expected()
        return msgspec.json.decode(self._read("expected.json"), type=Expected)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Quality on the test rows."""
        metrics: dict[str, Any] = msgspec.json.decode(self._read("metrics.json"))
        return metrics

    @cached_property
    def lineage(self) -> Lineage:
        """Where the model came from; only a sealed bundle knows."""
        return msgspec.json.decode(self._read("lineage.json"), type=Lineage)

    @property
    def model_file(self) -> Path:
        """The model in its format."""
        return self.path / formats.named(self.model.format).file

    @property
    def reference(self) -> Path:
        """Training rows with their scores."""
        return self.path / "reference.parquet"

    @property
    def tested(self) -> Path:
        """Scores, outcomes and times of test rows; bundles of 0.4.0 and before have none."""
        return self.path / "tested.parquet"

    @property
    def digest(self) -> str:
        """The name of the bundle's content, as the environment files pin it."""
        return "sha256:" + sha256(self.path / SUMS)

    def verify(self, digest: str | None = None) -> Bundle:
        """Return this bundle if every byte is what it should be, refuse it otherwise.

        `digest` is what an environment file or the registry promised.
        """
        sums = self.path / SUMS
        if not sums.is_file():
            raise _unfit(self.path, f"it has no {SUMS}")
        if digest is not None and self.digest != digest:
            raise _unfit(self.path, f"its digest is {self.digest}, promised was {digest}")
        lines = [line.split("  ", 1) for line in sums.read_text("utf-8").splitlines()]
        listed = {name: expected for expected, name in lines}
        present = {p.name for p in self.path.iterdir()} - {SUMS}
        if present != set(listed):
            raise _unfit(self.path, f"its files are not those that {SUMS} lists: {sorted(present ^ set(listed))}")
        for name, expected in listed.items():
            if sha256(self.path / name) != expected:
                raise _unfit(self.path, f"{name} was changed after the bundle was sealed")
        return self

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise MlopsError(f"there is no {name} in {self.path}", "mlops pipeline") from None


def seal(source: Path, target: Path, lineage: Lineage, code: Path | None = None) -> Bundle:
    """Copy the pipeline's bundle to `target`, add its code and where it came from, and close it with a digest."""
    shutil.copytree(source, target)
    if code is not None:
        shutil.copytree(code, target, dirs_exist_ok=True)
    write_json(target / "lineage.json", lineage)
    if lineage.snapshot:
        with (target / "card.md").open("a", encoding="utf-8", newline="\n") as card:
            card.write(f"\nThe raw data was taken from {lineage.snapshot}.\n")
    names = sorted(path.name for path in target.iterdir())
    lines = [f"{sha256(target / name)}  {name}\n" for name in names]
    (target / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return Bundle(target)


def _unfit(path: Path, reason: str) -> MlopsError:
    return MlopsError(
        f"the bundle in {path} is refused: {reason}",
        "remove this folder and fetch it again; if this comes back, the registry holds other bytes than were reviewed",
    )
