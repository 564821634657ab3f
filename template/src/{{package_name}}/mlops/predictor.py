"""From decoded rows to logged predictions; rows that arrive together are scored together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from itertools import count
from math import isfinite
from typing import Any, NamedTuple

from .predictions import PredictionLog
from .problems import Problem
from .schema import Row
from .scoring import Scorer


class Made(NamedTuple):
    """A prediction on its way to a client."""

    id: str
    answer: Any
    score: float


class Predictor:
    """The one place where predictions are made; a protocol only reads and writes its bytes.

    Scoring one row costs nearly as much as scoring ten, because the cost is in the calls. So single
    rows wait until the event loop has read every request that is there, which takes no time when
    there is only one.
    """

    def __init__(self, scorer: Scorer, log: PredictionLog | None) -> None:
        self._scorer = scorer
        self._log = log
        self._waiting: list[tuple[str, Row, asyncio.Future[Made]]] = []
        self._process = secrets.token_hex(6)
        self._requests = count(1)

    def one(self, row: Row) -> asyncio.Future[Made]:
        """Predict the row of one request."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._predict_waiting)
        made: asyncio.Future[Made] = loop.create_future()
        self._waiting.append((f"{self._process}-{next(self._requests):x}-0", row, made))
        return made

    def many(self, rows: Sequence[Row]) -> list[Made]:
        """Predict the rows of one request; all or none."""
        request = f"{self._process}-{next(self._requests):x}"
        return self._predict([f"{request}-{number}" for number in range(len(rows))], rows)

    def _predict_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            self._settle(waiting)
        except Exception:  # noqa: BLE001 - one row must not fail the others, so each gets its own outcome
            for one in waiting:
                try:
                    self._settle([one])
                except Exception as error:  # noqa: BLE001 - raised again where the request is answered
                    one[2].set_exception(error)

    def _settle(self, waiting: list[tuple[str, Row, asyncio.Future[Made]]]) -> None:
        made = self._predict([id_ for id_, _, _ in waiting], [row for _, row, _ in waiting])
        for (_, _, future), prediction in zip(waiting, made, strict=True):
            if not future.done():  # the client may have gone
                future.set_result(prediction)

    def _predict(self, ids: Sequence[str], rows: Sequence[Row]) -> list[Made]:
        try:
            scored = self._scorer.score_rows(rows)
        except OverflowError:
            raise Problem(422, "a number in the row is too large to compute with") from None
        scores: list[float] = scored.tolist()
        if not all(map(isfinite, scores)):
            raise Problem(422, "the model gives no finite score for these values")
        answers = self._scorer.answers(scored)
        if self._log is not None:
            self._log.add(ids, rows, scores, answers)
        return [*map(Made, ids, answers, scores)]
