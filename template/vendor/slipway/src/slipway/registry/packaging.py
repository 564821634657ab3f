"""The code that answers with a model: its wheels and their locked dependencies, kept in the model's bundle.

    *.whl               the team's code, and the platform's where that is a distribution of its own
    requirements.txt    the wheels and everything they need, each with its hash
    sbom.json           the same as a bill of materials, in CycloneDX

The same code gives the same bytes. What was tested is what runs, with or without this repository
and with or without containers.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slipway import kinds
from slipway.base import files, programs
from slipway.base.errors import MlopsError
from slipway.base.files import sha256, write_json
from slipway.forge import git
from slipway.kinds.base import alike
from slipway.settings.environment import Platform
from slipway.settings.project import Project
from slipway.training.bundle import Bundle

REQUIREMENTS = "requirements.txt"

#: Where the sources of the wheels are, seen from the project's root: the team's, then the platform's. A commit that
#: has no such folder, as before the platform was a distribution of its own, makes no wheel of it.
SOURCES = (".", "vendor/slipway")

#: How the platform's wheel is called, up to its version.
PLATFORM_WHEEL = "slipway_mlops-"


@dataclass(frozen=True)
class Programs:
    """The modules by which a bundle's own code is started: a server, the supervisor of servers, scoring rows."""

    server: str
    supervisor: str
    scoring: str


#: Of a platform that is a distribution of its own, and of one that lies in the team's package.
_OWN = Programs("slipway.serving.run", "slipway.delivery.native.supervisor", "slipway.training.scoring")
_OWN_SERVER = "slipway/serving/run.py"
EARLIER_SERVER = ".mlops.server"


def build(project: Project, commit: str, folder: Path) -> None:
    """Write the wheels of a commit and the requirements of a server, from the commit's `uv.lock`, into a folder."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        git.export(project.root, commit, source)
        _build(source, folder)


def _build(root: Path, folder: Path) -> None:
    for tree in SOURCES:
        if (root / tree / "pyproject.toml").is_file():
            _uv(root / tree, "build", "--wheel", "--no-create-gitignore", "--out-dir", str(folder.resolve()))
    export = ("export", "--frozen", "--no-default-groups", "--no-emit-workspace")
    locked = _uv(root, *export, "--no-annotate", "--no-header")
    (folder / REQUIREMENTS).write_text(_own_lines(folder) + locked, encoding="utf-8", newline="\n")
    materials = json.loads(_uv(root, *export, "--format", "cyclonedx1.5", "--preview-features", "sbom-export"))
    # The two things that would make it another file each time.
    del materials["serialNumber"], materials["metadata"]["timestamp"]
    write_json(folder / "sbom.json", materials)


def wheels(folder: Path) -> list[Path]:
    """The wheels in a folder, the team's before the platform's."""
    return sorted(folder.glob("*.whl"), key=lambda path: (path.name.startswith(PLATFORM_WHEEL), path.name))


def digests(bundle: Bundle) -> dict[str, str]:
    """The digest of each wheel in a bundle, by the wheel's name."""
    return {wheel.name: f"sha256:{sha256(wheel)}" for wheel in wheels(bundle.path)}


def programs_of(bundle: Bundle) -> Programs:
    """How the code in a bundle is started; refused when no wheel of it holds a server."""
    for name in files_in(bundle.path):
        if name == _OWN_SERVER:
            return _OWN
        package, found, rest = name.partition(EARLIER_SERVER.replace(".", "/") + ".py")
        if found and not rest and "/" not in package:
            return Programs(*(f"{package}.mlops.{module}" for module in ("server", "supervisor", "scoring")))
    raise MlopsError(f"the code in the bundle {bundle.path} holds no server", "register the version once more")


def install(project: Project, bundle: Bundle, newer: Platform | None = None) -> Path:
    """Make the environment in which a bundle's code runs, once; return its interpreter.

    `newer` is a platform that takes the place of the bundle's own. Versions with the same code share an environment,
    so going back to an earlier one takes no time.
    """
    if not (bundle.path / REQUIREMENTS).is_file():
        raise MlopsError(
            f"the bundle {bundle.path} holds no code", "mlops register makes a version that has it; promote that one"
        )
    code = code_of(project, bundle, newer)
    requirements = code / REQUIREMENTS
    folder = project.state / "releases" / sha256(requirements)[:16]
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / REQUIREMENTS).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _uv(code, "venv", "--python", _interpreter(bundle), str(folder))
        _uv(code, "pip", "sync", "--python", str(python), "--require-hashes", REQUIREMENTS)
        # Last, as the sign that everything before it was done.
        shutil.copyfile(requirements, folder / REQUIREMENTS)
    return python


def code_of(project: Project, bundle: Bundle, newer: Platform | None) -> Path:
    """The folder with the wheels and the requirements of what serves a bundle."""
    return _with_platform(project, bundle, newer) if newer else bundle.path


def differs(bundle: Bundle, wanted: Platform | None) -> Platform | None:
    """The platform that an environment's file asks for, unless the bundle brings it anyway."""
    return wanted if wanted and wanted.digest not in digests(bundle).values() else None


def current_platform(project: Project) -> Platform:
    """The platform that the current commit makes."""
    commit = git.head(project.root)
    with tempfile.TemporaryDirectory() as place:
        build(project, commit, Path(place))
        wheel = _platform_wheel(Path(place), commit)
        version = wheel.name.removeprefix(PLATFORM_WHEEL).partition("-")[0]
        return Platform(version=version, digest=f"sha256:{sha256(wheel)}", commit=commit)


def require_same_answers(project: Project, bundle: Bundle, python: Path, newer: Platform) -> None:
    """Refuse a platform that answers a bundle's golden rows otherwise than the one that it was registered with."""
    own = _golden(bundle, install(project, bundle), "answers")
    rounding = kinds.named(bundle.model.kind, bundle.model.classes).rounding
    try:
        problem = _difference("scores", _golden(bundle, python), bundle.golden.scores, rounding)
        problem = problem or _difference("answers", _golden(bundle, python, "answers"), own, rounding)
    except MlopsError as error:
        problem = error.problem
    if problem:
        raise MlopsError(
            f"platform {newer.version} does not answer as the one that this version was registered with: {problem}",
            "leave `platform` out of the environment's file, or register the version once more with this platform",
        )


def _golden(bundle: Bundle, python: Path, *arguments: str) -> list[Any]:
    """What an environment's platform says to the golden rows."""
    rows = json.dumps(bundle.golden.rows).encode()
    command = (str(python), "-I", "-m", _OWN.scoring, str(bundle.path.resolve()), *arguments)
    done = programs.run(*command, stdin=rows, install="mlops deploy again")
    if done.code:
        raise MlopsError(f"the golden rows got no answer: {done.last_words(2)}", "mlops deploy again")
    said: list[Any] = json.loads(done.raw)
    return said


def _difference(what: str, said: list[Any], expected: list[Any], rounding: float) -> str:
    is_close = said == expected or (len(said) == len(expected) and _are_close(expected, said, rounding))
    return "" if is_close else f"its {what} to the golden rows are {said}, those of the other are {expected}"


def _are_close(expected: list[Any], said: list[Any], rounding: float) -> bool:
    if any(isinstance(one, str) for one in (*expected, *said)):
        return False
    return bool(alike(np.array(expected, float), np.array(said, float), rounding).all())


def require_platform(project: Project, wanted: Platform) -> None:
    """Refuse a platform whose wheel is not what the commit that it names makes."""
    with tempfile.TemporaryDirectory() as place:
        _make_platform(project, wanted, Path(place))


def _make_platform(project: Project, wanted: Platform, folder: Path) -> Path:
    build(project, wanted.commit, folder)
    wheel = _platform_wheel(folder, wanted.commit)
    if f"sha256:{sha256(wheel)}" != wanted.digest:
        raise MlopsError(
            f"the platform of commit {wanted.commit[:12]} is not the one with {wanted.digest[:19]}, which a file names",
            "do not use it; find out who changed the environment's file",
        )
    return wheel


def _platform_wheel(folder: Path, commit: str) -> Path:
    found = next(folder.glob(f"{PLATFORM_WHEEL}*.whl"), None)
    if found is None:
        raise MlopsError(
            f"in commit {commit[:12]} the platform is a part of the team's package, so no other can take its place",
            "update the template first: mlops template update",
        )
    return found


def _with_platform(project: Project, bundle: Bundle, newer: Platform) -> Path:
    """A folder with the bundle's own code of the team, and another platform with what that commit locks."""
    folder = project.state / "platforms" / f"{newer.digest[7:23]}-{bundle.digest[7:23]}"
    if (folder / REQUIREMENTS).is_file():
        return folder
    team = [wheel for wheel in wheels(bundle.path) if not wheel.name.startswith(PLATFORM_WHEEL)]
    if len(team) == len(wheels(bundle.path)):
        raise MlopsError(
            f"the platform is a part of the code in the bundle {bundle.digest[:19]}, so no other can take its place",
            "register the version once more, or leave `platform` out of the environment's file",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        wheel = _make_platform(project, newer, Path(place))
        for one in (*team, wheel):
            shutil.copyfile(one, folder / one.name)
        files.write(folder / REQUIREMENTS, (_own_lines(folder) + _locked_lines(Path(place))).encode())
    return folder


def require_from_commit(project: Project, bundle: Bundle) -> None:
    """Refuse a bundle whose code is not what the commit that it names makes.

    Whoever may write to the registry could otherwise have any code run here.
    """
    commit = bundle.lineage.commit
    with tempfile.TemporaryDirectory() as place:
        made = Path(place)
        build(project, commit, made)
        if _content(made) != _content(bundle.path):
            raise MlopsError(
                f"the code in the bundle {bundle.digest[:19]} is not that of commit {commit[:12]}, which it names",
                "do not use it; find out who registered it",
            )


def module_of(bundle: Bundle, *paths: str) -> bytes | None:
    """The first of these modules that one of a bundle's wheels has; `None` without any.

    A path begins below the package, so `features.py` is the team's: no other module of that name lies so high.
    """
    for wheel in wheels(bundle.path):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if name.partition("/")[2] in paths and ".dist-info/" not in name:
                    return packed.read(name)
    return None


def hides_columns(bundle: Bundle) -> bool:
    """Whether the code in a bundle knows of columns that must not be logged as they are."""
    return any(name == _OWN_SERVER or name.endswith("/mlops/privacy.py") for name in files_in(bundle.path))


def serves_with(code: Path, module: str) -> bool:
    """Whether the server in a folder of code has a module, such as `guard`, and so can do what it is for."""
    return f"slipway/serving/{module}.py" in files_in(code)


def requires(code: Path, package: str) -> bool:
    """Whether a package is among what is installed with the code in a folder."""
    return any(line.startswith(f"{package}==") for line in (code / REQUIREMENTS).read_text("utf-8").splitlines())


def files_in(code: Path) -> Iterator[str]:
    """The files of all wheels in a folder of code."""
    for wheel in wheels(code):
        with zipfile.ZipFile(wheel) as packed:
            yield from packed.namelist()


def _content(folder: Path) -> dict[str, bytes]:
    """The files of the wheels but those that name the tool that built them, and what the wheels require of others."""
    content: dict[str, bytes] = {}
    for path in wheels(folder):
        with zipfile.ZipFile(path) as wheel:
            kept = (name for name in wheel.namelist() if not name.endswith(("/WHEEL", "/RECORD")))
            content |= {name: wheel.read(name) for name in kept}
    return content | {REQUIREMENTS: _locked_lines(folder).encode()}


def _own_lines(folder: Path) -> str:
    """The requirements that are wheels in the same folder."""
    return "".join(f"./{wheel.name} --hash=sha256:{sha256(wheel)}\n" for wheel in wheels(folder))


def _locked_lines(folder: Path) -> str:
    """The requirements that are not."""
    lines = (folder / REQUIREMENTS).read_text("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("./"))


def _interpreter(bundle: Bundle) -> str:
    """This interpreter when its minor version made the model, else that version for uv to find."""
    minor = bundle.lineage.python.rsplit(".", 1)[0]
    return sys.executable if platform.python_version().startswith(f"{minor}.") else minor


def uv() -> str:
    """The program uv: the one that runs this, or the one on PATH."""
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise MlopsError("uv is not on PATH", "install uv, or run this through: uv run mlops")
    return found


def _uv(folder: Path, *arguments: str) -> str:
    # An index of a cloud is asked with the credentials of that cloud, and a package may come from a Git repository.
    kept = programs.environment(*programs.CLOUDS, *programs.GIT_SETTINGS)
    kept.pop("VIRTUAL_ENV", None)
    done = programs.run(uv(), "--quiet", *arguments, cwd=folder, env=kept, install="install uv")
    if done.code:
        raise MlopsError(
            f"uv {arguments[0]} failed: {done.last_words()}", f"read uv's message, then run this again in {folder}"
        )
    return done.output
