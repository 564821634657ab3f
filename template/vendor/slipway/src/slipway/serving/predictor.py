"""From decoded rows to logged predictions; rows that arrive together are scored together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import count, repeat
from math import isfinite
from typing import Any, NamedTuple

from slipway.contract.problems import Problem
from slipway.contract.rows import Row
from slipway.log.predictions import PredictionLog, Role
from slipway.training.scoring import Scorer

#: So many rows are scored before the requests of others get a turn: a few milliseconds of work.
TURN_ROWS = 500


class Made(NamedTuple):
    """A prediction on its way to a client."""

    id: str
    answer: Any
    score: float
    probabilities: Sequence[float] | None = None


class Scored(NamedTuple):
    """Rows that were scored together: their scores and answers, and with classes the probability of each."""

    scores: list[float]
    answers: list[Any]
    probabilities: list[list[float]] | None


Settle = Callable[["Made | Exception"], None]
#: The id, the row, who is told, and the identity of who asks.
_Waiting = tuple[str, Row, Settle, str]
#: Is told of rows that were scored together, each of a request of its own: the rows, their scores and answers.
Note = Callable[[Sequence[Row], Sequence[float], Sequence[Any]], None]


class Predictor:
    """The one place where predictions are made; a protocol only reads and writes its bytes.

    Scoring one row costs nearly as much as scoring ten, because the cost is in the calls. So single
    rows wait until the event loop has read every request that is there, which takes no time when
    there is only one.
    """

    def __init__(self, scorer: Scorer, log: PredictionLog | None, role: Role, note: Note) -> None:
        self._scorer = scorer
        self._log = log
        self._role = role
        self._note = note
        self._waiting: list[_Waiting] = []
        self._process = secrets.token_hex(6)
        self._requests = count(1)

    @property
    def waiting(self) -> int:
        """How many single rows wait."""
        return len(self._waiting)

    def one(self, row: Row, settle: Settle, identity: str = "") -> None:
        """Predict the row of one request, and hand over the prediction or what went wrong."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._predict_waiting)
        self._waiting.append((f"{self._process}-{next(self._requests):x}-0", row, settle, identity))

    async def many(self, rows: Sequence[Row], role: Role | None = None, identity: str = "") -> list[Made]:
        """Predict the rows of one request; all or none. Another `role` than the server's own goes on record."""
        request = f"{self._process}-{next(self._requests):x}"
        ids = [f"{request}-{number}" for number in range(len(rows))]
        return await self.again(ids, rows, role or self._role, identity)

    async def again(self, ids: Sequence[str], rows: Sequence[Row], role: Role, identity: str = "") -> list[Made]:
        """Predict rows that have their ids already; all or none."""
        turns = [slice(start, start + TURN_ROWS) for start in range(0, len(rows), TURN_ROWS)]
        scored: list[Scored] = []
        for turn in turns:
            scored.append(self._score(rows[turn]))
            if len(turns) > 1:
                await asyncio.sleep(0)
        made: list[Made] = []
        for turn, one in zip(turns, scored, strict=True):
            made += self._record(ids[turn], rows[turn], one, role, repeat(identity))
            if len(turns) > 1:
                await asyncio.sleep(0)
        return made

    def _predict_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            made = self._together(waiting)
        except Exception:  # noqa: BLE001 - one row must not fail the others, so each gets its own outcome
            made = [self._alone(one) for one in waiting]
        for (_, _, settle, _), outcome in zip(waiting, made, strict=True):
            settle(outcome)

    def _together(self, waiting: Sequence[_Waiting]) -> Sequence[Made | Exception]:
        ids, rows, _, identities = zip(*waiting, strict=True)
        scored = self._score(rows)
        made = self._record(ids, rows, scored, self._role, identities)
        self._note(rows, scored.scores, scored.answers)
        return made

    def _alone(self, one: _Waiting) -> Made | Exception:
        try:
            return self._together([one])[0]
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            return error

    def _score(self, rows: Sequence[Row]) -> Scored:
        try:
            scored = self._scorer.score_rows(rows)
        except OverflowError:
            raise Problem(422, "a number in the row is too large to compute with") from None
        scores: list[float] = self._scorer.told(scored).tolist()
        if not all(map(isfinite, scores)):
            raise Problem(422, "the model gives no finite score for these values")
        probabilities = scored.tolist() if self._scorer.kind.classes else None
        return Scored(scores, self._scorer.answers(scored), probabilities)

    def _record(
        self, ids: Sequence[str], rows: Sequence[Row], scored: Scored, role: Role, identities: Iterable[str]
    ) -> list[Made]:
        scores, answers, probabilities = scored
        if self._log is not None:
            self._log.add(ids, rows, scores, answers, role, probabilities, identities)
        return [*map(Made, ids, answers, scores, repeat(None) if probabilities is None else probabilities)]
