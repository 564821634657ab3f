"""From columns of rows to answers: the one path that evaluation, batches and the server share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from slipway import kinds, team
from slipway.base.errors import MlopsError
from slipway.contract.columns import Columns, RowColumns
from slipway.contract.rows import Row
from slipway.kinds.base import Kind, Matrix, Scores, alike
from slipway.training import formats
from slipway.training.bundle import Bundle, ModelFacts
from slipway.training.formats.base import Scoring
from slipway.training.team_code import features_of

#: Which share of a feature's values may fall together, and how near to each other, as part of its spread.
LOST, ALIKE = 0.01, 1e-6
#: Fewer rows than this are not worth several threads.
SHARED_FROM = 1_000


def matrix(columns: Columns, names: Sequence[str] | None = None) -> tuple[list[str], Matrix]:
    """Compute the features and stack them, one column each, in the order of `names`.

    A feature that has several values for each row, such as all pixels of a picture, has as many columns, and one name.
    Without `names` the order is the feature function's own: that is how training fixes it, and what it gives is
    looked at closely.
    """
    computed = features_of(team.features, columns) if names is None else team.features(columns)
    names = list(computed) if names is None else list(names)
    if computed.keys() != set(names):
        raise MlopsError(
            f"features.py gives other features than the model was trained on: {sorted(set(names) ^ set(computed))}",
            "serve this model from the commit that trained it, or train again: mlops pipeline",
        )
    stacked = np.empty((len(computed[names[0]]), len(names)), dtype=np.float32)
    try:
        for position, name in enumerate(names):
            stacked[:, position] = computed[name]
    except ValueError:
        # A feature of several values, which is rare: to look for it first would cost each request.
        given = [np.asarray(computed[name], dtype=np.float32) for name in names]
        stacked = np.concatenate([one.reshape(len(stacked), prod(one.shape[1:])) for one in given], axis=1)
    return names, stacked


def merged(columns: Columns) -> Iterator[str]:
    """Say which features lose values that differ, as the model sees 32-bit numbers.

    Neighbours that a millionth of the feature's spread sets apart are alike for any model, and not told.
    """
    for name, feature in team.features(columns).items():
        values = np.unique(np.asarray(feature, dtype=np.float64))
        values = values[np.isfinite(values)]
        kept = np.unique(values.astype(np.float32))
        step = np.spacing(np.abs(kept).max(initial=0))
        if len(values) - len(kept) > LOST * len(values) and step > ALIKE * values.std():
            yield (
                f"the {len(values):,} values of {name} become {len(kept):,}, as the model sees numbers of 32 bits; "
                "let features.py take off what all have in common, such as the first day of a time"
            )


def load(folder: Path, facts: ModelFacts, kind: Kind, threads: int = 1) -> Scoring:
    """Load the model of a folder, of which `model.json` tells these facts."""
    form = formats.named(facts.format)
    return formats.load(
        folder / form.file, form, kind, libraries=facts.libraries, threads=threads, trusted=facts.trusted
    )


class Scorer:
    """A verified bundle, loaded and proven on its golden rows.

    With several `threads` each scores a part of the rows by itself. One row's score would otherwise depend, in its last
    bit, on how many threads have added up the trees.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle, self._threads = bundle, threads
        self.facts: ModelFacts = bundle.model
        self._columns = RowColumns(team.CONTRACT.fields)
        self.kind: Kind = kinds.named(self.facts.kind, self.facts.classes)
        self._model = load(bundle.path, self.facts, self.kind)
        self._prove()

    def __reduce__(self) -> tuple[Any, ...]:
        """Load the bundle anew, and prove it, in a process that this is sent to."""
        return type(self), (self.bundle, self._threads)

    def scores(self, columns: Columns) -> Scores:
        """Score rows given as columns of the contract."""
        return self.score_matrix(matrix(columns, self.facts.features)[1])

    def score_matrix(self, rows: Matrix) -> Scores:
        """Score rows whose features are computed."""
        if self._threads == 1 or len(rows) < SHARED_FROM:
            return self._model(rows)
        with ThreadPoolExecutor(self._threads) as threads:
            return np.concatenate([*threads.map(self._model, np.array_split(rows, self._threads))])

    def score_rows(self, rows: Sequence[Row]) -> Scores:
        """Score rows given as decoded requests."""
        return self.scores(self._columns(rows))

    def told(self, scores: Scores) -> Scores:
        """The one score of each row that is logged and told: of classes, the probability of the answer."""
        return self.kind.told(scores, self.facts.threshold)

    def answers(self, scores: Scores) -> list[Any]:
        """Turn scores into what a client gets."""
        return self.kind.answers(scores, self.facts.threshold)

    def _prove(self) -> None:
        """Refuse to work when today's code gives other scores than the export did."""
        golden = self.bundle.golden
        changed = "the contract differs from the one this model was trained with"
        if team.CONTRACT.fingerprint == self.facts.contract:
            scores = self.score_rows(msgspec.convert(golden.rows, list[team.CONTRACT.row]))  # type: ignore[name-defined]
            if alike(np.array(golden.scores), scores, self.kind.rounding).all():
                return
            changed = "features.py or a library gives other scores for its golden rows than at export"
        raise MlopsError(
            f"this code cannot serve bundle {self.bundle.digest[:19]}: {changed}",
            f"use the code that trained it: commit {self.bundle.lineage.commit[:12]}",
        )


def main() -> None:
    """Score the rows on standard input by the bundle in the first argument, both ways as JSON.

    With `answers` as second argument it prints what a client would get. `mlops compare` starts this with the code of
    the commit that trained the model, `mlops deploy` with each of two platforms.
    """
    try:
        scorer = Scorer(Bundle(Path(sys.argv[1])))
        rows = msgspec.json.decode(sys.stdin.buffer.read(), type=list[team.CONTRACT.row])  # type: ignore[name-defined]
        scores = scorer.score_rows(rows)
    except MlopsError as error:
        sys.exit(str(error))
    content = scorer.answers(scores) if "answers" in sys.argv[2:] else scores.tolist()
    sys.stdout.buffer.write(msgspec.json.encode(content))


if __name__ == "__main__":
    main()
