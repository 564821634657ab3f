"""A project names its owner and nobody else."""

from collections.abc import Callable
from pathlib import Path

from rendering import files

BREWERY = {
    "project_name": "Hop Harvest",
    "package_name": "hop_harvest",
    "repository": "brewery/hop-harvest",
    "author": "Zoë Quill <zoe@brewery.example>",
}
TRAMWAY = {
    "project_name": "Tram Wear",
    "package_name": "tram_wear",
    "repository": "tramway/tram-wear",
    "author": "Ivo O'Dell <ivo@tramway.example>",
}
DEFAULTS = {
    "project_name": "Flight Delays",
    "package_name": "flight_delays",
    "repository": "acme/flight-delays",
    "author": "Ada Lovelace <ada@example.com>",
}


def traces(owner: dict[str, str]) -> set[str]:
    """Return the words by which an owner would be recognised."""
    person, _, address = owner["author"].partition(" <")
    slug = owner["repository"].partition("/")[2]
    return {owner["project_name"], owner["package_name"], owner["repository"], slug, person, address.strip(">")}


def found(words: set[str], project: Path) -> dict[str, set[str]]:
    """Return the files that hold any of the words, in their text or in their path."""
    texts = {name: name + path.read_bytes().decode(errors="ignore") for name, path in files(project).items()}
    hits = {name: {word for word in words if word in text} for name, text in texts.items()}
    return {name: hit for name, hit in hits.items() if hit}


def test_a_project_names_its_own_owner(render: Callable[..., Path]) -> None:
    named = found(traces(BREWERY), render(**BREWERY))

    assert set().union(*named.values()) == traces(BREWERY)


def test_two_projects_share_no_word_about_their_owners(render: Callable[..., Path]) -> None:
    assert found(traces(TRAMWAY) | traces(DEFAULTS), render(**BREWERY)) == {}
    assert found(traces(BREWERY) | traces(DEFAULTS), render(**TRAMWAY)) == {}


def test_no_project_names_the_authors_of_the_template(render: Callable[..., Path]) -> None:
    assert found({"Slipway authors"}, render(**BREWERY)) == {}
