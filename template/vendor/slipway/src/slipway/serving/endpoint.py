"""From a request to its answer: limits, who answers, predictions, counts. Protocols are in `protocols/`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any

import msgspec

from slipway.contract.problems import MEDIA_TYPE, Problem
from slipway.contract.rows import Row
from slipway.serving.challenger import ChallengerRouter, Copy
from slipway.serving.context import ServingContext
from slipway.serving.counts import count
from slipway.serving.explain import Explainer
from slipway.serving.limits import RateLimit
from slipway.serving.metrics import Telemetry
from slipway.serving.predictor import Made, Predictor
from slipway.serving.protocols import Protocols
from slipway.serving.protocols.base import Headers, Reply, Request

logger = logging.getLogger(__name__)

Done = Callable[[Reply], None]


class Endpoint:
    """Answers requests for predictions; a fault in one never reaches the next."""

    def __init__(
        self, context: ServingContext, protocols: Protocols, telemetry: Telemetry, challenger: ChallengerRouter
    ) -> None:
        served, policy = context.served, context.policy
        self.max_bytes = policy.max_body_kb * 1024
        self.version = served.version
        self.protocols = protocols
        self._is_champion = served.role == "champion"
        self._predictor = Predictor(context.scorer, context.log, served.role, telemetry.scored)
        self._explainer = Explainer(context.scorer) if policy.explain else None
        self._max_in_progress = policy.max_in_progress
        self._telemetry = telemetry
        self._challenger = challenger
        # What a challenger refuses, its champion is asked next.
        self._refusals = context.refusals if self._is_champion else None
        self.limit = RateLimit(policy.requests_per_second)
        self._encode = msgspec.json.Encoder().encode
        self._headers: Headers = [
            (b"content-type", b"application/json"),
            (b"mlops-version", context.version.encode()),
        ]
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, request: Request, done: Done) -> None:
        """Answer one request by calling `done` once, now or later."""
        start = perf_counter()
        try:
            self._admit(request)
            is_for_challenger = self._challenger.forwards(request)
            if is_for_challenger or self._is_slow(request):
                self._start(self._slowly(request, start, done, is_for_challenger))
                return
            row = self.protocols.predict.row(request.body)
        except Exception as error:  # noqa: BLE001 - becomes the answer
            done(self.refuse(request, error))
            return
        self._predictor.one(row, partial(self._settle, request, start, done), request.identity)

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.take(request, future.set_result)
        return await future

    def refuse(self, request: Request, error: Exception) -> Reply:
        """What a client gets instead of predictions; a fault of ours is told to the log alone."""
        if not isinstance(error, Problem):
            logger.error("a prediction was not answered", exc_info=error)
            error = Problem(500, "the fault is ours; it is in the server's log")
        self._telemetry.refused(error.status, [one.field for one in error.errors])
        if self._refusals is not None:
            self._refusals.add(error.errors)
        headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
        return Reply(error.status, [(b"content-type", MEDIA_TYPE.encode()), *headers], request.protocol.refuse(error))

    async def score_copies(self, body: bytes) -> Reply:
        """Score the copies that a champion sent, and record what this model would have said."""
        ids: list[str] = []
        rows: list[Row] = []
        for copy in msgspec.msgpack.decode(body, type=list[Copy]):
            try:
                question = self.protocols.at(copy.path).read(copy.body)
            except Problem:  # the champion's contract may be wider
                count(self._telemetry.counts.copies, "refused")
                continue
            ids += [f"{copy.id}-{number}" for number in range(len(question.rows))]
            rows += question.rows
        try:
            made = await self._predictor.again(ids, rows, "shadow")
        except Problem:
            alone = [await self._score_copy(id_, row) for id_, row in zip(ids, rows, strict=True)]
            made = [*chain.from_iterable(alone)]
        self._telemetry.shadowed(made)
        return Reply(200, self._headers, b"{}")

    async def _score_copy(self, id_: str, row: Row) -> list[Made]:
        try:
            return await self._predictor.again([id_], [row], "shadow")
        except Problem:
            count(self._telemetry.counts.copies, "refused")
            return []

    def _admit(self, request: Request) -> None:
        in_progress = self._predictor.waiting + len(self._tasks)
        if self._is_champion:  # a challenger gets only what was admitted
            self.limit.take(*((request.identity, "identity") if request.identity else (request.client,)))
            self._telemetry.arrived(in_progress)
        if in_progress >= self._max_in_progress:
            raise Problem(503, "too many requests are in progress; ask again", headers={"retry-after": "1"})

    def _is_slow(self, request: Request) -> bool:
        """Whether a request is anything but one row for this model in the project's own protocol."""
        predict = self.protocols.predict
        if request.protocol is not predict or request.is_explained or request.is_probe:
            return True
        if not predict.is_one(request.body):
            return True
        return request.version not in (None, self.version)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self, request: Request, start: float, done: Done, made: Made | Exception) -> None:
        if isinstance(made, Exception):
            done(self.refuse(request, made))
            return
        done(Reply(200, self._headers, self._encode(self.protocols.predict.one(made))))
        self._sent(request, made.id, start)

    async def _slowly(self, request: Request, start: float, done: Done, is_for_challenger: bool) -> None:
        try:
            reply = await self._ask_challenger(request, start) if is_for_challenger else None
            reply = reply or await self._predict(request, start)
        except Exception as error:  # noqa: BLE001 - becomes the answer
            reply = self.refuse(request, error)
        done(reply)

    async def _ask_challenger(self, request: Request, start: float) -> Reply | None:
        reply = await self._challenger.ask(request)
        if reply is not None:
            self._telemetry.forwarded(perf_counter() - start)
        return reply

    async def _predict(self, request: Request, start: float) -> Reply:
        if request.version not in (None, self.version):
            raise Problem(404, f"version {request.version} does not answer here; this is version {self.version}")
        if request.is_explained and self._explainer is None:
            raise Problem(403, "answers are not explained here; serving.explain in policy.yaml allows it")
        question = request.protocol.read(request.body)
        contributions = self._explainer.contributions(question.rows) if self._explainer and request.is_explained else []
        made = await self._predictor.many(question.rows, "probe" if request.is_probe else None, request.identity)
        content = question.answer(made)
        for one, contribution in zip(content.get("predictions", [content]), contributions, strict=False):
            one["contributions"] = contribution
        encoded = self._encode(content)
        if request.is_probe:
            return Reply(200, self._headers, encoded)
        # The answer goes out first.
        asyncio.get_running_loop().call_soon(self._answered, request, question.rows, made, start)
        return Reply(200, self._headers, encoded)

    def _answered(self, request: Request, rows: Sequence[Row], made: Sequence[Made], start: float) -> None:
        self._telemetry.predicted(rows, made)
        self._sent(request, made[0].id, start)

    def _sent(self, request: Request, id_: str, start: float) -> None:
        if self._is_champion:  # of a challenger's answers, the champion does the rest
            self._telemetry.took(perf_counter() - start)
            self._challenger.copy(request, id_)
