"""Sets of answers under which every choice and every pair of choices is rendered."""

from itertools import chain
from typing import Any

import yaml
from allpairspy import AllPairs
from questions import ROOT, questions
from rendering import git, releases

Answers = dict[str, str]

#: Kinds of data remote that stand for the others where choices meet: the rest differ in rows of one table.
MET = ("local", "s3")
# Answers that are typed, not chosen, and lead elsewhere in copier.yml or a template; the rest of the remotes; and
# deliveries, which differ in one file and one line.
TYPED: list[Answers] = [
    {"data_remote": "s3", "s3_endpoint": "http://127.0.0.1:9000"},
    {"data_remote_url": "/srv/flight data"},
    {"target": "compose", "image": "acme/flight-delays"},
    {"image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/flight-delays"},
    {"image": "europe-west3-docker.pkg.dev/acme/models/flight-delays"},
    {"image": "acme.azurecr.io/flight-delays"},
    {"image": "registry.example.com:5000/team/flight-delays"},
    {"reviewers": "@acme/science @ada"},
    {"data_remote": "gs"},
    {"data_remote": "azure", "size": "small"},
    {"data_remote": "ssh", "size": "regulated"},
    {"data_remote": "webdav", "problem": "regression"},
    {"data_remote": "http", "target": "compose"},
    {"target": "kubernetes", "delivery": "argocd"},
    {"target": "kubernetes", "delivery": "flux", "size": "regulated"},
]


# What updates from older releases are tried with.
FEW: list[Answers] = [
    {"problem": "binary", "data_remote": "local"},
    {"problem": "regression", "data_remote": "s3", "license": "Apache-2.0"},
]


def pairwise() -> list[Answers]:
    """Return few sets in which any two choices of different questions meet, read from copier.yml."""
    return _pairs() + TYPED


def _pairs(form: dict[str, Any] | None = None, together: int = 2) -> list[Answers]:
    choices = {question.key: list(question.choices.values()) for question in questions(form) if question.choices}
    choices["data_remote"] = [kind for kind in choices["data_remote"] if kind in MET]
    shaped = ("size", "target", "delivery")
    axes = [[((key, value),) for value in values] for key, values in choices.items() if key not in shaped]
    # A size without containers asks for no target, so the two are one choice.
    sizes, targets = choices.get("size", []), choices.get("target", [])
    shapes: list[tuple[tuple[str, str], ...]] = [
        (("size", size), ("target", target)) for size in sizes if size != "small" for target in targets
    ]
    shapes += [(("size", "small"),)] if sizes else [(("target", target),) for target in targets]
    return [dict(chain(*row)) for row in AllPairs([*axes, shapes], n=together)]


def released() -> dict[str, tuple[str, Answers]]:
    """Return the newest release with few sets that hold each choice of its own form, those before it with two."""
    forms = {version: git(ROOT, "show", f"{commit}:copier.yml") for version, commit in releases().items()}
    newest = list(forms)[-1]
    choices = _pairs(yaml.safe_load(forms[newest]), together=1)
    sets = {version: choices if version == newest else FEW for version in forms}
    return {f"{version}-{name(answers)}": (version, answers) for version, known in sets.items() for answers in known}


def name(answers: Answers) -> str:
    """Return a readable test id."""
    return "-".join(answers.values())
