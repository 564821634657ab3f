"""Sets of answers under which every choice and every pair of choices is rendered."""

from allpairspy import AllPairs
from questions import questions

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


def name(answers: Answers) -> str:
    """Return a readable test id."""
    return "-".join(answers.values())
