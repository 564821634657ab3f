"""The code in a bundle: a wheel of the team's and one of the platform's, and another platform in its place."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rendering import ROOT, releases
from slipway.base.errors import MlopsError
from slipway.base.files import sha256
from slipway.forge import git
from slipway.registry import packaging, readable
from slipway.registry.models import require_trusted
from slipway.registry.register import commit_of
from slipway.settings.environment import Platform
from slipway.settings.project import Project
from slipway.training.bundle import Bundle, Lineage, seal

TEAM = """\
[project]
name = "tiny"
version = "0.1.0"
requires-python = ">=3.11"

[build-system]
requires = ["uv_build>=0.13.9,<0.14"]
build-backend = "uv_build"
"""
WORKSPACE = """
[tool.uv.workspace]
members = ["vendor/*"]
"""
#: Scores each row as it was scored at export, or by one more, and answers with the opposite when told to.
SCORING = """\
import json, pathlib, sys
golden = json.loads((pathlib.Path(sys.argv[1]) / "golden.json").read_bytes())
scores = [score + OFFSET for score in golden["scores"]]
print(json.dumps([(score > 0.5) != OPPOSITE for score in scores] if "answers" in sys.argv else scores))
"""


class Workshop:
    """A project of a few lines in Git, whose platform is a distribution of its own or a part of it."""

    def __init__(self, root: Path, finished: Project, lineage: Lineage) -> None:
        self.project = Project(root)
        self._finished = finished
        self._lineage = lineage
        root.mkdir()
        git.git(root, "init", "--quiet")
        for key, value in (("user.name", "tests"), ("user.email", "tests@localhost"), ("commit.gpgSign", "false")):
            git.git(root, "config", key, value)

    def write(self, path: str, text: str = "") -> None:
        file = self.project.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def commit(self) -> str:
        subprocess.run([packaging.uv(), "lock", "--quiet", "--offline"], cwd=self.project.root, check=True)
        git.git(self.project.root, "add", "--all")
        git.git(self.project.root, "commit", "--quiet", "-m", "Change something")
        return git.head(self.project.root)

    def commit_platform(self, *, version: str = "1.0.0", offset: int = 0, opposite: bool = False) -> str:
        self.write("pyproject.toml", TEAM + WORKSPACE)
        facts = TEAM.replace('"tiny"', '"slipway-mlops"').replace("0.1.0", version)
        module = '\n[tool.uv.build-backend]\nmodule-name = "slipway"\n'
        self.write("vendor/slipway/pyproject.toml", facts + module)
        for name in ("__init__", "serving/__init__", "serving/run", "training/__init__"):
            self.write(f"vendor/slipway/src/slipway/{name}.py")
        scoring = SCORING.replace("OFFSET", str(offset)).replace("OPPOSITE", str(opposite))
        self.write("vendor/slipway/src/slipway/training/scoring.py", scoring)
        self.write("src/tiny/__init__.py")
        self.write("src/tiny/features.py", "TEAM = True\n")
        return self.commit()

    def commit_old(self) -> str:
        self.write("pyproject.toml", TEAM)
        for name in ("__init__", "features", "mlops/__init__", "mlops/server"):
            self.write(f"src/tiny/{name}.py")
        return self.commit()

    def seal(self, commit: str, folder: Path) -> Bundle:
        code = folder / "code"
        packaging.build(self.project, commit, code)
        return seal(
            self._finished.bundle, folder / "bundle", msgspec.structs.replace(self._lineage, commit=commit), code
        )


@pytest.fixture(autouse=True)
def code_is_found_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")


@pytest.fixture
def workshop(tmp_path: Path, finished: Project, lineage: Lineage) -> Workshop:
    return Workshop(tmp_path / "tiny", finished, msgspec.structs.replace(lineage, python="3.11.1"))


@pytest.fixture
def made(workshop: Workshop, tmp_path: Path) -> Callable[[str], Bundle]:
    return lambda commit: workshop.seal(commit, tmp_path / commit[:8])


def test_a_bundle_holds_the_wheel_of_the_team_and_that_of_the_platform(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    bundle = made(workshop.commit_platform())

    names = [path.name.partition("-")[0] for path in packaging.wheels(bundle.path)]
    assert names == ["tiny", "slipway_mlops"]
    requirements = (bundle.path / packaging.REQUIREMENTS).read_text("utf-8")
    for name, digest in packaging.digests(bundle).items():
        assert f"./{name} --hash={digest}" in requirements
    assert packaging.programs_of(bundle).server == "slipway.serving.run"
    assert packaging.module_of(bundle, "features.py") == b"TEAM = True\n"
    packaging.require_from_commit(workshop.project, bundle)


def test_a_bundle_of_an_earlier_layout_is_started_by_the_program_in_its_package(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    bundle = made(workshop.commit_old())

    assert packaging.programs_of(bundle).server == "tiny.mlops.server"
    assert packaging.programs_of(bundle).supervisor == "tiny.mlops.supervisor"
    packaging.require_from_commit(workshop.project, bundle)


@pytest.mark.parametrize(("version", "commit"), releases().items(), ids=releases())
def test_the_code_in_a_bundle_of_each_release_is_started_by_programs_that_it_holds(
    tmp_path: Path, version: str, commit: str
) -> None:
    """A project of the release has these modules in its package, so they are what its wheel holds."""
    listed = git.git(ROOT, "ls-tree", "-r", "--name-only", commit, "--", "template/src", "template/vendor")
    names = [re.sub(r"{%.*?%}|\.jinja$", "", name).replace("{{package_name}}", "tiny") for name in listed.splitlines()]
    names = sorted(set(names))
    with zipfile.ZipFile(tmp_path / "tiny-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in names:
            wheel.writestr(name.partition("/src/")[2], "")

    programs = packaging.programs_of(Bundle(tmp_path))

    held = {name.partition("/src/")[2].removesuffix(".py").replace("/", ".") for name in names}
    assert {programs.server, programs.supervisor, programs.scoring} <= held
    assert packaging.hides_columns(Bundle(tmp_path)) == (version not in ("v0.1.0", "v0.2.0"))


def test_a_bundle_whose_wheels_hold_no_server_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/features.py", "")

    with pytest.raises(MlopsError, match="holds no server\n next: register the version once more"):
        packaging.programs_of(Bundle(tmp_path))


def test_a_platform_that_its_commit_does_not_make_is_told_from_the_bundle(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    first = workshop.commit_platform()
    other = made(workshop.commit_platform(offset=1))
    (other.path / "lineage.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(other.lineage, commit=first)))

    with pytest.raises(MlopsError, match=f"is not that of commit {first[:12]}"):
        packaging.require_from_commit(workshop.project, Bundle(other.path))


def test_a_newer_platform_serves_a_model_with_the_code_of_its_team(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    bundle = made(workshop.commit_platform())
    workshop.write("src/tiny/features.py", "TEAM = False\n")
    workshop.commit_platform(version="1.0.1")
    newer = packaging.current_platform(workshop.project)

    python = packaging.install(workshop.project, bundle, newer)
    packaging.require_same_answers(workshop.project, bundle, python, newer)

    asked = "import tiny.features, importlib.metadata as m; print(tiny.features.TEAM, m.version('slipway-mlops'))"
    done = subprocess.run([python, "-P", "-c", asked], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "1.0.1"]
    assert packaging.differs(bundle, newer) == newer
    assert packaging.install(workshop.project, bundle) != python  # going back takes the platform in the bundle


@pytest.mark.parametrize(("change", "what"), [({"offset": 1}, "scores"), ({"opposite": True}, "answers")])
def test_a_newer_platform_that_answers_otherwise_is_refused(
    workshop: Workshop, made: Callable[[str], Bundle], change: dict[str, Any], what: str
) -> None:
    bundle = made(workshop.commit_platform())
    workshop.commit_platform(version="1.1.0", **change)
    newer = packaging.current_platform(workshop.project)
    python = packaging.install(workshop.project, bundle, newer)

    with pytest.raises(MlopsError, match=rf"platform 1\.1\.0 does not answer as the one .*: its {what} to the golden"):
        packaging.require_same_answers(workshop.project, bundle, python, newer)


def test_a_platform_with_another_digest_than_its_commit_makes_is_refused(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    commit = workshop.commit_platform()
    wanted = Platform(version="1.0.0", digest=f"sha256:{'0' * 64}", commit=commit)

    with pytest.raises(MlopsError, match=f"the platform of commit {commit[:12]} is not the one with sha256:0000"):
        packaging.install(workshop.project, made(commit), wanted)


def test_no_other_platform_takes_the_place_of_one_in_the_package_of_the_team(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    bundle = made(workshop.commit_old())
    workshop.commit_platform()
    newer = packaging.current_platform(workshop.project)

    with pytest.raises(MlopsError, match="the platform is a part of the code in the bundle"):
        packaging.install(workshop.project, bundle, newer)


def test_the_digest_of_a_platform_is_that_of_its_wheel(workshop: Workshop, made: Callable[[str], Bundle]) -> None:
    bundle = made(workshop.commit_platform())

    platform = packaging.current_platform(workshop.project)

    assert platform.digest == f"sha256:{sha256(packaging.wheels(bundle.path)[-1])}"
    assert packaging.differs(bundle, platform) is None


def test_a_commit_that_changes_the_platform_alone_is_that_of_the_next_version(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    first = workshop.commit_platform()
    newer = workshop.commit_platform(offset=1)
    workshop.write("README.md", "No bundle holds this page.\n")
    workshop.commit()

    changed = git.git(workshop.project.root, "diff", "--name-only", first, newer).split()
    assert changed == ["vendor/slipway/src/slipway/training/scoring.py"]
    assert commit_of(workshop.project) == newer
    bundle = made(newer)
    assert len(packaging.wheels(bundle.path)) == 2
    packaging.require_from_commit(workshop.project, bundle)  # what `mlops audit` asks


def test_code_that_cannot_read_the_format_of_a_model_is_refused(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    def in_xgboost(bundle: Bundle) -> Bundle:
        facts = msgspec.json.encode(msgspec.structs.replace(bundle.model, format="xgboost"))
        (bundle.path / "model.json").write_bytes(facts)
        return Bundle(bundle.path)

    older = made(workshop.commit_platform())
    readable.require_format(older.path, older)  # the twin: ONNX needs nothing
    older = in_xgboost(older)
    with pytest.raises(MlopsError, match="the platform that shall serve this model is older than its format xgboost"):
        readable.require_format(older.path, older)

    workshop.write("vendor/slipway/src/slipway/training/formats/boosting.py")
    newer = in_xgboost(made(workshop.commit()))
    with pytest.raises(MlopsError, match=r"nothing that servers install reads model\.ubj: xgboost or xgboost-cpu is"):
        readable.require_format(newer.path, newer)

    with (newer.path / packaging.REQUIREMENTS).open("a") as requirements:
        requirements.write("xgboost-cpu==3.2.0 --hash=sha256:0\n")
    readable.require_format(newer.path, newer)


def test_a_bundle_that_trusts_other_types_than_its_commit_is_refused(
    workshop: Workshop, made: Callable[[str], Bundle]
) -> None:
    workshop.write("params.yaml", "model_format:\n  name: skops\n  trusted: [a.B]\n")
    bundle = made(workshop.commit_platform())

    def trusting(*types: str) -> Bundle:
        facts = msgspec.structs.replace(bundle.model, format="skops", trusted=[*types])
        (bundle.path / "model.json").write_bytes(msgspec.json.encode(facts))
        return Bundle(bundle.path)

    require_trusted(workshop.project, trusting("a.B"))
    with pytest.raises(MlopsError, match=r"trusts os\.system, and params\.yaml of commit"):
        require_trusted(workshop.project, trusting("a.B", "os.system"))
