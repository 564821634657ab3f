"""Predicting files of rows, with the contract, features and model that the server uses.

The rows pass through in chunks, so memory does not grow with the files. Each chunk's answers are a part of
their own, put in place whole; a run that was killed goes on behind the last part. In the end the parts
become the target, which is put in place whole as well: it is never there unless it is complete.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import filelock
import msgspec
import polars as pl

from slipway.base.errors import MlopsError
from slipway.base.files import Log, replacing, write
from slipway.contract.files import MODEL_COLUMN, PLAIN, read_chunks
from slipway.contract.found import files_of
from slipway.contract.frames import Violation, columns, parse
from slipway.kinds.base import Scores
from slipway.kinds.multiclass import column
from slipway.settings.params import FileFormat
from slipway.team import CONTRACT
from slipway.training import engines
from slipway.training.engines import Engine
from slipway.training.scoring import Scorer

CHUNK = 100_000
PLAN = "plan.json"
SAY_EVERY_S = 2.0

T = TypeVar("T")
Chunk = tuple[str, pl.DataFrame, list[Violation]]


def predict(
    scorer: Scorer,
    source: Path,
    target: Path,
    *,
    with_score: bool,
    log: Log,
    engine: Engine = engines.LOCAL,
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
            chunks = _chunks(source, form)
            rows = _predict_parts(ChunkScorer(scorer, with_score), chunks, _Broken(source), parts, engine, log)
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


class Piece(NamedTuple):
    """One chunk on its way: its typed rows, then their answers; no frame where there is nothing to predict."""

    name: str
    rows: int
    frame: pl.DataFrame | None


@dataclass(frozen=True)
class ChunkScorer:
    """Turns rows into their keys and answers."""

    scorer: Scorer
    with_score: bool

    def __call__(self, piece: Piece) -> Piece:
        """Predict the rows of a chunk."""
        if piece.frame is None:
            return piece
        scores = self.scorer.scores(columns(piece.frame, CONTRACT.fields))
        answers = pl.Series(self.scorer.facts.answer, self.scorer.answers(scores))
        predicted = piece.frame.select(CONTRACT.key).with_columns(answers)
        return piece._replace(frame=predicted.with_columns(self._told(scores)) if self.with_score else predicted)

    def _told(self, scores: Scores) -> Iterator[pl.Series]:
        """The score of each row, and with classes the probability of each in a column of its own."""
        yield pl.Series("score", self.scorer.told(scores))
        for place, name in enumerate(self.scorer.kind.classes):
            yield pl.Series(column(name), scores[:, place])


def _predict_parts(
    work: ChunkScorer, chunks: Iterator[Chunk], broken: _Broken, parts: Path, engine: Engine, log: Log
) -> int:
    """Predict what has no part yet, up to the first chunk that breaks the contract."""
    rows, progress = 0, _Progress(log)

    def pieces() -> Iterator[Piece]:
        for name, frame, violations in _ahead(chunks):
            broken.add(violations)
            is_wanted = not broken and not (parts / name).exists()
            yield Piece(name, frame.height, frame if is_wanted else None)

    for piece in engine.map(work, pieces()):
        if piece.frame is not None:
            with replacing(parts / piece.name) as draft:  # so that a part that is there is whole
                piece.frame.write_ipc(draft)
        rows += piece.rows
        progress.tell(rows)
    if broken:
        shutil.rmtree(parts)
        raise broken.refusal()
    return rows


def _ahead(chunks: Iterator[T]) -> Iterator[T]:
    """The same chunks; the next one is read while the one before is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _chunks(source: Path, form: FileFormat) -> Iterator[Chunk]:
    """Typed chunks of all files in their order, each with the name of its part and the rules that it breaks."""
    for place, file in enumerate(files_of(source)):
        for number, raw in enumerate(read_chunks(file, CHUNK, form)):
            yield f"{place:06}-{number:08}.arrow", *parse(raw, CONTRACT.fields, form)


def _assemble(parts: Path, target: Path, digest: str) -> None:
    """Turn the parts into the target, in their order and without holding them all; each row names its model."""
    answers = pl.scan_ipc(sorted(parts.glob("*.arrow"))).with_columns(pl.lit(digest).alias(MODEL_COLUMN))
    sink = answers.sink_csv if target.suffix == ".csv" else answers.sink_parquet
    with replacing(target) as draft:
        sink(draft)


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._started = self._said = time.monotonic()

    def tell(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            self._log(f"{rows:,} rows, {rows / (now - self._started):,.0f} a second")


class _Broken:
    """The rules that rows broke, over all chunks."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._found: dict[tuple[str, str], Violation] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, violations: list[Violation]) -> None:
        for new in violations:
            old = self._found.get((new.field, new.rule))
            both = replace(old, rows=old.rows + new.rows) if old else new
            self._found[new.field, new.rule] = both

    def refusal(self) -> MlopsError:
        listed = "\n".join(f"  {violation}" for violation in self._found.values())
        return MlopsError(f"{self._source} breaks the contract:\n{listed}", "mend these rows and run this again")
