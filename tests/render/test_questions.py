"""The form: what it asks, what it refuses and how it says so."""

import keyword
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from questions import PAGE, ROOT, page, questions
from rendering import Template, files

ASKED = [question for question in questions() if question.is_asked]
TYPED = [question for question in questions() if not question.choices]

REFUSED = {
    "empty": {"project_name": ""},
    "too long": {"project_name": "F" * 51},
    "a digit first": {"project_name": "3 Flights"},
    "an umlaut": {"project_name": "Flüge"},
    "a quote": {"project_name": 'The "best" model'},
    "braces": {"project_name": "{{ project_name }}"},
    "a second line": {"project_name": "Flight\n"},
    "a space at the end": {"project_name": "Flight "},
    "a package with a hyphen": {"package_name": "flight-delays"},
    "a package with a capital": {"package_name": "Flights"},
    "a package of 41 letters": {"package_name": "f" * 41},
    "a keyword": {"package_name": "import"},
    "a soft keyword": {"package_name": "match"},
    "the standard library": {"package_name": "json"},
    "a dependency": {"package_name": "mlflow"},
    "the platform": {"package_name": "mlops"},
    "a derived package name that is reserved": {"project_name": "Test"},
    "a repository without an owner": {"repository": "flight-delays"},
    "a repository's address": {"repository": "https://example.com/acme/flights"},
    "a repository named like a folder": {"repository": "acme/.."},
    "an owner with two hyphens": {"repository": "acme--inc/flights"},
    "an author without an address": {"author": "Ada Lovelace"},
    "an author with a quote": {"author": 'Ada "Countess" <ada@example.com>'},
    "an author with a backslash": {"author": "Ada\\n <ada@example.com>"},
    "an author with a brace": {"author": "{{ 7 * 7 }} <ada@example.com>"},
    "an author with a control character": {"author": "Ada\x07 <ada@example.com>"},
    "an author with a hidden direction": {"author": "Ada\u202e <ada@example.com>"},
    "an author in two lines": {"author": "Ada\nLovelace <ada@example.com>"},
    "a folder inside the project": {"data_remote_url": "data/store"},
    "a folder with a quote": {"data_remote_url": "/srv/the 'data'"},
    "a folder with a comment sign": {"data_remote_url": "/srv/data # old"},
    "a bucket where a folder is asked for": {"data_remote_url": "s3://flights/dvc"},
    "a folder where a bucket is asked for": {"data_remote": "s3", "data_remote_url": "../data"},
    "a bucket with capitals": {"data_remote": "s3", "data_remote_url": "s3://Flights/dvc"},
    "a store without http": {"data_remote": "s3", "s3_endpoint": "storage.example.com"},
    "a password in a store's address": {"data_remote": "s3", "s3_endpoint": "https://me:pw@storage.example.com"},
    "a container with capitals": {"data_remote": "azure", "data_remote_url": "azure://Flights/dvc"},
    "a container of two letters": {"data_remote": "azure", "data_remote_url": "azure://fl/dvc"},
    "an account's address": {"data_remote": "azure", "azure_account": "flights.blob.example.com"},
    "a bucket of another provider": {"data_remote": "gs", "data_remote_url": "s3://flights/dvc"},
    "a password in a machine's address": {"data_remote": "ssh", "data_remote_url": "ssh://me:pw@example.com/srv"},
    "a machine without a folder": {"data_remote": "ssh", "data_remote_url": "ssh://me@example.com"},
    "a user in a WebDAV address": {"data_remote": "webdav", "data_remote_url": "webdavs://me@example.com/data"},
    "a query in a web address": {"data_remote": "http", "data_remote_url": "https://example.com/data?key=1"},
    "an image with a tag": {"image": "ghcr.io/acme/flights:latest"},
    "an image with capitals": {"image": "ghcr.io/Acme/flights"},
    "an image with a digest": {"image": f"ghcr.io/acme/flights@sha256:{'0' * 64}"},
    "an image's address": {"image": "https://ghcr.io/acme/flights"},
    "an image with two dots": {"image": "ghcr.io/acme/flights..late"},
    "a description in two lines": {"description": "Late\nor not"},
    "a description with a quote": {"description": 'Is it "late"?'},
    "a reviewer without an at sign": {"reviewers": "acme/science"},
    "a reviewer's address": {"reviewers": "ada@example.com"},
    "a reviewer with a comma": {"reviewers": "@ada, @grace"},
    "a description that is too long": {"description": "x" * 121},
}

ACCEPTED = {
    "one letter": {"project_name": "F"},
    "fifty letters": {"project_name": "Flight Delays of the three airports of New-York___"},
    "hyphens and underscores": {"project_name": "Flight-delays_2"},
    "a long package": {"package_name": "f" * 40},
    "an umlaut in a name": {"author": "Jürgen Müller-Groß <jm@example.org>"},
    "an apostrophe in a name": {"author": "Miles O'Brien Jr. <miles.obrien+ml@mail.example.co>"},
    "another alphabet": {"author": "अदिति शर्मा <aditi@example.in>"},
    "a drive": {"data_remote_url": "D:/flight data"},
    "a shared folder": {"data_remote_url": "/mnt/daten/flüge-2"},
    "a bucket without a folder": {"data_remote": "s3", "data_remote_url": "s3://flights.example"},
    "a store of one's own": {"data_remote": "s3", "s3_endpoint": "http://127.0.0.1:8333"},
    "an account": {"data_remote": "azure", "azure_account": "flights2"},
    "a bucket of Google's": {"data_remote": "gs", "data_remote_url": "gs://flights_2"},
    "a machine with a port": {"data_remote": "ssh", "data_remote_url": "ssh://storage:2222/srv/data"},
    "WebDAV without encryption": {"data_remote": "webdav", "data_remote_url": "webdav://127.0.0.1:8080"},
    "a web server": {"data_remote": "http", "data_remote_url": "https://example.com/data/flights"},
    "an image in a registry of one's own": {"image": "registry.example.com:5000/team/x"},
    "an image from a repository with odd signs": {"repository": "Acme/-Flights..late_"},
    "a team and a person": {"reviewers": "@acme/data-science.eu @ada-l"},
    "a description with an apostrophe": {"description": "What's late, and by how much; München to Köln (all day)?"},
}


def test_at_most_nine_questions_are_asked() -> None:
    assert len(ASKED) <= 9


def test_every_question_has_a_help_line() -> None:
    assert [question.key for question in questions() if not question.help] == []


def test_every_question_but_the_optional_address_has_a_default() -> None:
    assert [question.key for question in questions() if not question.default] == ["s3_endpoint"]


def test_every_typed_answer_has_a_validator() -> None:
    assert [question.key for question in TYPED if not question.validator] == []


@pytest.mark.parametrize("answers", REFUSED.values(), ids=REFUSED.keys())
def test_an_answer_is_refused_in_one_sentence_and_nothing_is_written(
    answers: dict[str, str], template: Template, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r", like [^\n]+\Z") as refusal:
        template.render(tmp_path / "project", **answers)

    problem = str(refusal.value).removeprefix("Validation error for question ")
    assert re.match(r"'\w+': \"", problem)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("answers", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_answer_is_accepted(answers: dict[str, str], render: Callable[..., Path]) -> None:
    assert files(render(**answers))


def test_an_unknown_answer_is_not_passed_over(template: Template, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no question projectname"):
        template.render(tmp_path, projectname="Flights")


def test_no_package_can_take_the_name_of_a_standard_module_or_keyword() -> None:
    reserved = set((ROOT / "includes" / "reserved.jinja").read_text(encoding="utf-8").split())
    words = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names}

    assert {word for word in words if word.islower() and not word.startswith("_")} - reserved == set()


REGISTRIES = {
    "ghcr.io/acme/flights": "ghcr",
    "acme/flights": "dockerhub",
    "docker.io/acme/flights": "dockerhub",
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com/flights": "aws",
    "public.ecr.aws/acme/flights": "aws",
    "europe-west3-docker.pkg.dev/acme/models/flights": "google",
    "eu.gcr.io/acme/flights": "google",
    "acme.azurecr.io/flights": "azure",
    "registry.example.com:5000/team/flights": "other",
    "localhost/flights": "other",
    "ghcr.io.example.com/acme/flights": "other",
}


@pytest.mark.parametrize(("image", "kind"), REGISTRIES.items())
def test_a_registry_is_known_by_the_host_in_an_images_name(
    image: str, kind: str, template: Template, tmp_path: Path
) -> None:
    """The fact is for workflows, which log in to each kind in its own way; here a page shows it."""
    shutil.copytree(template.path, tmp_path / "template")
    (tmp_path / "template/template/kind.jinja").write_text("{{ image_registry }}\n", encoding="utf-8")
    shown = Template(tmp_path / "template", template.version).release("v9.0.0", lambda _: None)

    project = shown.render(tmp_path / "project", image=image)

    assert (project / "kind").read_text("utf-8").strip() == kind


def test_copying_with_the_defaults_needs_no_trust(template: Template, tmp_path: Path) -> None:
    command = ["copier", "copy", "--defaults", str(template.path), str(tmp_path / "project")]
    done = subprocess.run(command, capture_output=True, check=False, text=True, encoding="utf-8")

    assert done.returncode == 0, done.stderr
    assert "uv run mlops setup" in done.stderr


def test_the_reference_of_the_questions_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "next: make docs"
