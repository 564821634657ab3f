"""Every kind of data remote that the table has, against a real store: what is sent, fetched, missing and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway.base.errors import MlopsError
from slipway.data import access, dvc, remotes, rights
from slipway.settings.project import Project
from stores import STORES, Access, DataStore

OF_THE_NETWORK = [one for one in remotes.REMOTES if one.schemes]
#: Commands of DVC in one process, which would be loaded for each of them otherwise; a path in front is removed.
SEVERAL = """
import json, os, pathlib, shutil, sys
from dvc.cli import main
told = os.dup(1)
for command in json.load(sys.stdin):
    if command[0] == "lose":
        for path in map(pathlib.Path, command[1:]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        continue
    with open("out", "w+b") as out, open("said", "w+b") as said:
        os.dup2(out.fileno(), 1), os.dup2(said.fileno(), 2)
        code = main(command)
        sys.stdout.flush(), sys.stderr.flush()
        out.seek(0), said.seek(0)
        texts = {"out": out.read().decode(), "said": said.read().decode()}
    here = sorted(path.name for path in pathlib.Path("data").glob("*.csv"))
    os.write(told, json.dumps({"code": code, "here": here, **texts}).encode() + b"\\n")
"""


@pytest.fixture(scope="module", params=OF_THE_NETWORK, ids=lambda one: one.kind)
def kind(request: pytest.FixtureRequest) -> remotes.Remote:
    asked: remotes.Remote = request.param
    return asked


@pytest.fixture(scope="module")
def store(kind: remotes.Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataStore]:
    with STORES[kind.kind](tmp_path_factory.mktemp(kind.kind)) as there:
        yield there


@pytest.fixture
def at(store: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> At:
    return At(store, tmp_path / "project", monkeypatch)


class At:
    """A repository whose default remote is a store, for whoever is named."""

    def __init__(self, store: DataStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.root, self._patch = store, root, monkeypatch
        (root / "data").mkdir(parents=True)
        (root / ".dvc").mkdir()
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))

    def project(self, who: Access, url: str | None = None) -> Project:
        """Let this one in, and nobody else."""
        options = {"url": url or self.store.url} | who.options
        lines = ["[core]", "    remote = storage", "    no_scm = true", "['remote \"storage\"']"]
        lines += [f"    {name} = {value}" for name, value in options.items()]
        (self.root / ".dvc" / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, value in who.variables.items():
            self._patch.setenv(name, value)
        return Project(self.root)

    @property
    def reader_url(self) -> str:
        """Where the one who only reads finds the store."""
        return self.store.reader.options.get("url", self.store.url)

    def dvc(self, *commands: list[str]) -> list[dict[str, object]]:
        """Run commands of DVC as the platform does; returns what each left."""
        with access.opened(self.root) as environment:
            done = subprocess.run(
                [sys.executable, "-c", SEVERAL], input=json.dumps(commands), cwd=self.root, env=environment,
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]


def test_data_is_sent_fetched_in_part_and_whole_and_what_is_not_there_is_named(at: At) -> None:
    at.project(at.store.writer, url=str(at.store.folder) if at.store.folder else None)
    for name in ("first", "second", "third"):
        (at.root / "data" / f"{name}.csv").write_text(f"{name},{at.store.url}\n", encoding="utf-8")
    cached = [".dvc/cache", "data/first.csv", "data/second.csv", "data/third.csv"]
    *_, sent = at.dvc(
        ["add", "--quiet", "data/first.csv", "data/second.csv", "data/third.csv"],
        ["push", "data/first.csv.dvc", "data/second.csv.dvc"],
        ["lose", *cached],
    )
    at.project(at.store.reader)

    part, known, whole, absent = at.dvc(
        ["pull", "data/second.csv.dvc"],
        ["data", "status", "--not-in-remote", "--json"],
        ["pull", "data/first.csv.dvc"],
        ["pull", "data/third.csv.dvc"],
    )

    assert sent["code"] == 0, sent["said"]
    assert (part["code"], part["here"]) == (0, ["second.csv"]), part["said"]
    assert json.loads(str(known["out"]))["not_in_remote"] == ["data/third.csv"], known
    assert (whole["code"], whole["here"]) == (0, ["first.csv", "second.csv"]), whole["said"]
    assert (at.root / "data" / "first.csv").read_text("utf-8") == f"first,{at.store.url}\n"
    assert (absent["code"], absent["here"]) == (1, ["first.csv", "second.csv"])
    assert "third.csv" in str(absent["said"])


def test_who_may_write_has_every_right_and_who_may_only_read_is_refused_by_name(kind: remotes.Remote, at: At) -> None:
    # What was written stays in a bucket, and is no hindrance the next time.
    if kind.creates:
        assert rights.ask(at.project(at.store.writer)) == rights.Rights(at.store.url, kind.rights, {})
    writing = rights.ask(at.project(at.store.writer), *kind.known)
    # Google's emulator lets everybody in who does not come by the gate.
    assert writing.has == (kind.known if kind.kind == "gs" else kind.rights)
    assert {*writing.missing} == {*writing.refused} == {*kind.known} - {*writing.has}
    if kind.is_written:
        reading = rights.ask(at.project(at.store.reader), *kind.known)
        assert (reading.has, {*reading.missing}) == (("list", "read"), {*reading.refused})

    with pytest.raises(MlopsError) as refused:
        dvc.push(at.project(at.store.reader))

    missing = f"no right to write at {at.reader_url}" if kind.is_written else "takes nothing"
    assert refused.value.problem.startswith("the data remote did not take the data: ")
    assert missing in refused.value.problem
