"""What a server is made from: a loaded model, what is known of it, the policy, and where its records go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from slipway.log.posted import LabelLog
from slipway.log.predictions import PredictionLog
from slipway.log.refusals import RefusalLog
from slipway.serving.guard import Guard
from slipway.serving.protocols.base import ServedModel
from slipway.settings.policy import ServingPolicy
from slipway.training import formats
from slipway.training.scoring import Scorer


@dataclass(frozen=True)
class Served:
    """The model behind the server. `source` is where its bundle came from: `registry` or `cache`."""

    environment: str
    version: int | None
    digest: str
    commit: str
    source: str
    role: Literal["champion", "challenger"] = "champion"


@dataclass(frozen=True)
class ServingContext:
    """What the parts of one server process share.

    Without a `log` no answer is recorded, and without `refusals` no refusal. `traffic` is the file that names a
    challenger, `counts` the folder in which `workers` processes share their counts. Without a `guard` anybody may ask,
    and without `labels` nobody can post some.
    """

    scorer: Scorer
    served: Served
    policy: ServingPolicy
    log: PredictionLog | None = None
    refusals: RefusalLog | None = None
    traffic: Path | None = None
    counts: Path | None = None
    workers: int = 1
    guard: Guard | None = None
    labels: LabelLog | None = None

    @property
    def version(self) -> str:
        """The model's version as text, empty for a model that has none."""
        return str(self.served.version or "")

    @property
    def identity(self) -> dict[str, Any]:
        """The content of `/version`."""
        return {"name": self.scorer.facts.name, **msgspec.to_builtins(self.served)}

    @property
    def model(self) -> ServedModel:
        """What protocols and the team's endpoints may know."""
        facts = self.scorer.facts
        return ServedModel(
            name=facts.name,
            version=self.served.version,
            digest=self.served.digest,
            answer=facts.answer,
            kind=facts.kind,
            with_score=self.policy.return_score,
            max_rows=self.policy.max_rows,
            examples=self.scorer.bundle.golden.rows[:2],
            classes=self.scorer.kind.classes,
            platform=formats.named(facts.format).platform,
        )
