"""Where a prediction, a running server or a model version came from, back to the raw rows."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from slipway.base.errors import MlopsError
from slipway.base.numbers import significant
from slipway.contract.columns import columns
from slipway.contract.files import SOURCE
from slipway.data import labels
from slipway.delivery import environments
from slipway.delivery.deploy import ask
from slipway.forge import git
from slipway.log import masks, predictions
from slipway.log.frames import frame_of
from slipway.log.masks import MARK, is_hash
from slipway.registry.models import Registry, Version
from slipway.settings.project import Project
from slipway.team import CONTRACT, PROBABILITIES
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer, matrix
from slipway.training.team_code import column_names

Facts = dict[str, Any]


def trace(project: Project, reference: str) -> Facts:
    """Follow a reference to its origin.

    `reference` is a prediction's id, the address of a running server, the name of an
    environment, an alias, or a version number.
    """
    if reference.startswith(("http://", "https://")):
        return _server(project, reference)
    if reference in environments.names(project):
        return _version(project, str(environments.champion(project, reference).version))
    if reference.isdigit() or reference == "latest":
        return _version(project, reference)
    if Registry.open(project).alias(reference):
        return _version(project, reference)
    prediction = predictions.find(project, reference)
    if prediction is None:
        share = project.policy.serving.log_share
        part = f" (serving.log_share: it holds {share:g} of the requests)" if share < 1 else ""
        raise MlopsError(
            f"{reference} is no prediction in the log of this machine{part}, and no environment, alias or version",
            "an answer's id stands in its field `id`; `mlops status` lists the environments",
        )
    return _prediction(project, prediction)


def _server(project: Project, address: str) -> Facts:
    url = urlsplit(address)
    answer = ask(url.hostname or "127.0.0.1", url.port or 80, "GET", "/version")
    facts: Facts = {"server": address, "environment": answer.get("environment")}
    found = _by_digest(project, str(answer.get("digest")))
    return facts | _facts(project, found, Registry.open(project).fetch(found))


def _prediction(project: Project, prediction: predictions.Prediction) -> Facts:
    found = _by_digest(project, prediction.digest)
    bundle = Registry.open(project).fetch(found)
    facts: Facts = {
        "prediction": prediction.id,
        "at": prediction.at.isoformat(),
        "environment": prediction.environment,
        "row": msgspec.to_builtins(prediction.row),
        "features": _features(bundle, prediction),
        "score": prediction.score,
        bundle.model.answer: prediction.answer,
    }
    if prediction.probabilities is not None:
        facts[PROBABILITIES] = dict(zip(bundle.model.classes, prediction.probabilities, strict=True))
    facts |= {"identity": prediction.identity} if prediction.identity else {}
    facts |= _label(project, prediction)
    return facts | _facts(project, found, bundle)


def _label(project: Project, prediction: predictions.Prediction) -> Facts:
    """What a label says that happened, if there is one by now, and where that label is."""
    mask = masks.mask_of(project, prediction.environment)
    row = frame_of([prediction], CONTRACT.fields, mask)
    known = labels.KnownLabels.of(project, prediction.environment, mask)
    found = known.labels.parts.of(row, SOURCE, labels.TRUTH) if known else row.clear()
    if found.is_empty():
        return {}
    truth = found[labels.TRUTH][0]
    return {"label": f"{'nothing' if truth is None else f'{truth:g}'}, by {found[SOURCE][0]}"}


def _features(bundle: Bundle, prediction: predictions.Prediction) -> Facts:
    scorer = Scorer(bundle)
    asked = {field.name: prediction.row.get(field.name, MARK) for field in CONTRACT.fields}
    if hidden := [field.name for field in CONTRACT.fields if field.picture or is_hash(asked[field.name])]:
        return {"not known": f"the log does not hold {', '.join(hidden)} as asked"}
    row = msgspec.convert(prediction.row, CONTRACT.row)
    names, values = matrix(columns([row], CONTRACT.fields), scorer.facts.features)
    known = zip(column_names(names, values.shape[1]), values[0], strict=True)
    return {name: significant(float(value)) for name, value in known}


def _version(project: Project, reference: str) -> Facts:
    registry = Registry.open(project)
    found = registry.find(reference)
    return _facts(project, found, registry.fetch(found))


def _by_digest(project: Project, digest: str) -> Version:
    for version in Registry.open(project).versions():
        if version.digest == digest:
            return version
    raise MlopsError(f"no registered version has the digest {digest}", "is this the right registry? see: mlops audit")


def _facts(project: Project, version: Version, bundle: Bundle) -> Facts:
    lineage = bundle.lineage
    subject = git.git(project.root, "log", "-1", "--format=%s (%an, %as)", lineage.commit, check=False).strip()
    runs_in = [
        name
        for name in environments.names(project)
        if (release := environments.load(project, name).champion) and release.digest == version.digest
    ]
    return {
        "model": f"{bundle.model.name} version {version.number}",
        "digest": version.digest,
        "runs in": ", ".join(runs_in) or "no environment",
        "run": lineage.run_id,
        "commit": f"{lineage.commit} {subject}".strip(),
        "pipeline": f"dvc.lock {lineage.pipeline[:12]}",
        "environment lock": f"uv.lock {lineage.lock[:12]}, Python {lineage.python}, {lineage.platform}",
        "data": [f"{one.path} md5 {one.md5}" for one in lineage.data],
        **({"snapshot": str(lineage.snapshot)} if lineage.snapshot else {}),
        "data card": "data/README.md",
    }


def trace_text(facts: Facts) -> str:
    """The facts, one a line, the most recent link first."""
    lines = []
    for name, value in facts.items():
        for position, line in enumerate(_lines(value)):
            lines.append(f"{'' if position else name:<16}  {line}".rstrip())
    return "\n".join(lines)


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} = {one}" for name, one in value.items()]
    return list(map(str, value)) if isinstance(value, list) else [str(value)]
