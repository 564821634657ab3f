"""Sets of answers under which every choice and every pair of choices is rendered."""

from itertools import chain

import yaml
from allpairspy import AllPairs
from questions import ROOT, questions
from rendering import git, releases

Answers = dict[str, str]

# Answers that are typed, not chosen, and lead elsewhere in copier.yml or a template.
TYPED: list[Answers] = [
    {"data_remote": "s3", "s3_endpoint": "http://127.0.0.1:9000"},
    {"data_remote_url": "/srv/flight data"},
    {"target": "compose", "image": "acme/flight-delays"},
    {"image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/flight-delays"},
    {"image": "europe-west3-docker.pkg.dev/acme/models/flight-delays"},
    {"image": "acme.azurecr.io/flight-delays"},
    {"image": "registry.example.com:5000/team/flight-delays"},
]


def pairwise() -> list[Answers]:
    """Return few sets in which any two choices of different questions meet, read from copier.yml."""
    choices = {question.key: list(question.choices.values()) for question in questions() if question.choices}
    # A size without containers asks for no target, so the two are one choice.
    sizes, targets = choices.pop("size"), choices.pop("target")
    shapes = [(("size", size), ("target", target)) for size in sizes if size != "small" for target in targets]
    axes = [[((key, value),) for value in values] for key, values in choices.items()]
    return [dict(chain(*row)) for row in AllPairs([*axes, [*shapes, (("size", "small"),)]])] + TYPED


def released() -> dict[str, tuple[str, Answers]]:
    """Return each released version with each of these sets that its own form can take, by a readable test id."""
    forms = {version: git(ROOT, "show", f"{commit}:copier.yml") for version, commit in releases().items()}
    choices = {
        version: {question.key: question.choices.values() for question in questions(yaml.safe_load(form))}
        for version, form in forms.items()
    }
    return {
        f"{version}-{name(answers)}": (version, answers)
        for version, known in choices.items()
        for answers in pairwise()
        if all(key in known and (not known[key] or value in known[key]) for key, value in answers.items())
    }


def name(answers: Answers) -> str:
    """Return a readable test id."""
    return "-".join(answers.values())
