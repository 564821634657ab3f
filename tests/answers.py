"""Sets of answers under which every choice and every pair of choices is rendered."""

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
    {"target": "compose", "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/flight-delays"},
    {"target": "compose", "image": "europe-west3-docker.pkg.dev/acme/models/flight-delays"},
    {"target": "compose", "image": "acme.azurecr.io/flight-delays"},
    {"target": "compose", "image": "registry.example.com:5000/team/flight-delays"},
]


def pairwise() -> list[Answers]:
    """Return few sets in which any two choices of different questions meet, read from copier.yml."""
    choices = {question.key: list(question.choices.values()) for question in questions() if question.choices}
    return [dict(zip(choices, row, strict=True)) for row in AllPairs(list(choices.values()))] + TYPED


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
