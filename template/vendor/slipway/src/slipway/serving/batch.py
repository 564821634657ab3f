"""Predicting files of rows, with the contract, features and model that the server uses.

The rows pass through in chunks, so memory does not grow with the files. Each chunk's answers are a part of
their own, put in place whole; a run that was killed leaves out the parts that are there. Workers of an engine read
files, and stretches of Parquet files, and write their parts by themselves. In the end the parts become the target,
which is put in place whole as well: it is never there unless it is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar
from uuid import uuid4

import filelock
import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.base.files import Log, replacing, write
from slipway.base.progress import Progress
from slipway.contract.files import MODEL_COLUMN, PLAIN, known_rows, read_chunks
from slipway.contract.found import files_of
from slipway.contract.frames import Violation, columns, merged, parse
from slipway.contract.stretches import FileStretch, stretches
from slipway.kinds.base import Scores
from slipway.kinds.multiclass import column
from slipway.settings.params import FileFormat
from slipway.team import CONTRACT
from slipway.training import engines
from slipway.training.engines import Mapper
from slipway.training.scoring import Scorer

CHUNK = 100_000
#: A worker has done with so many before it is given more.
CHUNKS_AT_ONCE = 10
PLAN = "plan.json"

T = TypeVar("T")


def predict(
    scorer: Scorer,
    source: Path,
    target: Path,
    *,
    with_score: bool,
    log: Log,
    engine: Mapper = engines.HERE,
    form: FileFormat = PLAIN,
) -> int:
    """Predict each row of `source`, a file or a folder of files written in `form`; write key and answer to `target`.

    All or nothing: rows that break the contract refuse the whole, and so does a target that exists. Run again
    after a kill, it keeps the parts that are there, if the source and the model are still the same.
    Returns the number of rows.
    """
    if not source.exists():
        raise MlopsError(f"there is no {source}", "name a file, or a folder of files, with rows to predict")
    if target.suffix not in (".csv", ".parquet"):
        raise MlopsError(f"{target} is neither .csv nor .parquet", "choose one of these endings", exit_code=2)
    parts = target.with_name(f".{target.name}.parts")
    plan = _plan(scorer, source, with_score=with_score, form=form)
    is_ours = (parts / PLAN).is_file() and (parts / PLAN).read_bytes() == plan
    if target.exists() and not is_ours:
        raise MlopsError(f"{target} exists", "name another file, or remove it first")
    if not is_ours:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        write(parts / PLAN, plan)
    try:
        with filelock.FileLock(parts / "lock", timeout=0):
            rows = _predict_parts(PortionScorer(scorer, parts.absolute(), CHUNK, with_score, form), source, engine, log)
            _assemble(parts, target, scorer.bundle.digest)
    except filelock.Timeout:
        raise MlopsError(f"another `mlops batch` is writing {target}", "wait until it has ended") from None
    shutil.rmtree(parts)
    return rows


def _plan(scorer: Scorer, source: Path, *, with_score: bool, form: FileFormat = PLAIN) -> bytes:
    """What the parts are made from; parts of another plan are thrown away."""
    paths = [file.path for file in files_of(source)]
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    model = scorer.bundle.digest
    return msgspec.json.encode({"files": files, "form": form, "model": model, "score": with_score, "chunk": CHUNK})


class Portion(NamedTuple):
    """What one worker does in one go: a stretch of a file."""

    stretch: FileStretch
    #: Rows that break the contract have been found elsewhere: nothing will be written in the end.
    is_in_vain: bool

    def __str__(self) -> str:
        return str(self.stretch)


class Counted(NamedTuple):
    """Rows of a portion, how many of them an earlier run has predicted, and the rules that some break."""

    rows: int
    found: int
    violations: list[Violation]


@dataclass(frozen=True)
class PortionScorer:
    """Writes the parts of a portion: keys and answers of `chunk` rows each. `tell` hears of each part at once."""

    scorer: Scorer
    parts: Path
    chunk: int
    with_score: bool
    form: FileFormat
    tell: Callable[[int, int], None] | None = None

    def __call__(self, portion: Portion) -> Counted:
        """Predict the rows of a portion, up to the first chunk that breaks the contract."""
        if not self.parts.is_dir():
            raise MlopsError(
                f"{self.parts} is not there", "let the checkout and the target lie in folders that all nodes share"
            )
        rows, found, broken = 0, 0, list[Violation]()
        place, _, start, _ = portion.stretch
        for number, (frame, violations) in enumerate(_ahead(self._chunks(portion.stretch)), start // self.chunk):
            part = self.parts / f"{place:06}-{number:08}.arrow"
            broken += violations
            was_there = frame.height if part.exists() else 0
            if not (broken or was_there or portion.is_in_vain):
                # Whole when it is there, whoever else may be at the same portion.
                with replacing(part, f".{uuid4().hex}") as draft:
                    self._predicted(frame).write_ipc(draft)
            rows, found = rows + frame.height, found + was_there
            if self.tell:
                self.tell(frame.height, was_there)
        return Counted(rows, found, broken)

    def _chunks(self, stretch: FileStretch) -> Iterator[tuple[pl.DataFrame, list[Violation]]]:
        for raw in read_chunks(stretch.file, self.chunk, self.form, stretch.start, stretch.length):
            yield parse(raw, CONTRACT.fields, self.form)

    def _predicted(self, frame: pl.DataFrame) -> pl.DataFrame:
        scores = self.scorer.scores(columns(frame, CONTRACT.fields))
        answers = pl.Series(self.scorer.facts.answer, self.scorer.answers(scores))
        predicted = frame.select(CONTRACT.key).with_columns(answers)
        return predicted.with_columns(self._told(scores)) if self.with_score else predicted

    def _told(self, scores: Scores) -> Iterator[pl.Series]:
        """The score of each row, and with classes the probability of each in a column of its own."""
        yield pl.Series("score", self.scorer.told(scores))
        for place, name in enumerate(self.scorer.kind.classes):
            yield pl.Series(column(name), scores[:, place])


def _predict_parts(work: PortionScorer, source: Path, engine: Mapper, log: Log) -> int:
    """Predict what has no part yet; return the number of rows, or refuse them all."""
    files = files_of(source)
    lengths = [known_rows(file) for file in files]
    known = [rows for rows in lengths if rows is not None]
    progress = Progress(log, "row", sum(known) if len(known) == len(files) else None)
    if engine is engines.HERE:
        work = replace(work, tell=progress.add)
    else:  # a worker may stand in another folder
        files = [replace(file, path=file.path.absolute()) for file in files]
    rows, broken = 0, list[Violation]()
    for counted in engine.map(
        work, (Portion(stretch, bool(broken)) for stretch in stretches(files, CHUNKS_AT_ONCE * work.chunk))
    ):
        broken = merged([*broken, *counted.violations])
        rows += counted.rows
        if work.tell is None:
            progress.add(counted.rows, counted.found)
    if broken:
        shutil.rmtree(work.parts)
        listed = "\n".join(f"  {violation}" for violation in broken)
        raise MlopsError(f"{source} breaks the contract:\n{listed}", "mend these rows and run this again")
    return rows


def _ahead(chunks: Iterator[T]) -> Iterator[T]:
    """The same chunks; the next one is read while the one before is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _assemble(parts: Path, target: Path, digest: str) -> None:
    """Turn the parts into the target, in their order and without holding them all; each row names its model."""
    answers = pl.scan_ipc(sorted(parts.glob("*.arrow"))).with_columns(pl.lit(digest).alias(MODEL_COLUMN))
    sink = answers.sink_csv if target.suffix == ".csv" else answers.sink_parquet
    with replacing(target) as draft:
        sink(draft)
