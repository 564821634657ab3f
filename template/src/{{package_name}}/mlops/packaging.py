"""The code that answers with a model: a wheel and its locked dependencies, kept in the model's bundle.

    *.whl               this project, as it was when the model was registered
    requirements.txt    the wheel and everything it needs, each with its hash
    sbom.json           the same as a bill of materials, in CycloneDX

The same code gives the same bytes. What was tested is what runs, with or without this repository
and with or without containers.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from . import git
from .bundle import Bundle, sha256, write_json
from .errors import MlopsError
from .native import PACKAGE
from .project import Project

REQUIREMENTS = "requirements.txt"


def build(project: Project, commit: str, folder: Path) -> None:
    """Write the wheel of a commit and the requirements of a server, from the commit's `uv.lock`, into a folder."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        git.export(project.root, commit, source)
        _build(source, folder)


def _build(root: Path, folder: Path) -> None:
    _uv(root, "build", "--wheel", "--no-create-gitignore", "--out-dir", str(folder))
    wheel = next(folder.glob("*.whl"))
    export = ("export", "--frozen", "--no-default-groups", "--no-emit-project")
    locked = _uv(root, *export, "--no-annotate", "--no-header")
    own = f"./{wheel.name} --hash=sha256:{sha256(wheel)}\n"
    (folder / REQUIREMENTS).write_text(own + locked, encoding="utf-8", newline="\n")
    materials = json.loads(_uv(root, *export, "--format", "cyclonedx1.5", "--preview-features", "sbom-export"))
    # The two things that would make it another file each time.
    del materials["serialNumber"], materials["metadata"]["timestamp"]
    write_json(folder / "sbom.json", materials)


def install(project: Project, bundle: Bundle) -> Path:
    """Make the environment in which a bundle's code runs, once; return its interpreter.

    Versions with the same code share one, so going back to an earlier one takes no time.
    """
    requirements = bundle.path / REQUIREMENTS
    if not requirements.is_file():
        raise MlopsError(f"the bundle {bundle.path} holds no code", "mlops register, which puts it there")
    folder = project.state / "releases" / sha256(requirements)[:16]
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / REQUIREMENTS).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _uv(bundle.path, "venv", "--python", _interpreter(bundle), str(folder))
        _uv(bundle.path, "pip", "sync", "--python", str(python), "--require-hashes", REQUIREMENTS)
        # Last, as the sign that everything before it was done.
        shutil.copyfile(requirements, folder / REQUIREMENTS)
    return python


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


def module_of(bundle: Bundle, path: str) -> bytes | None:
    """A module of this package as a bundle's wheel has it; `None` without the module or the wheel."""
    for wheel in bundle.path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            name = f"{PACKAGE}/{path}"
            return packed.read(name) if name in packed.namelist() else None
    return None


def _content(folder: Path) -> dict[str, bytes]:
    """Every file of the wheel but those that name the tool that built it, and the requirements without the wheel."""
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        content = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith(("/WHEEL", "/RECORD"))}
    return content | {REQUIREMENTS: (folder / REQUIREMENTS).read_bytes().split(b"\n", 1)[1]}


def _interpreter(bundle: Bundle) -> str:
    """This interpreter when its minor version made the model, else that version for uv to find."""
    minor = bundle.lineage.python.rsplit(".", 1)[0]
    return sys.executable if platform.python_version().startswith(f"{minor}.") else minor


def _uv(folder: Path, *arguments: str) -> str:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise MlopsError("uv is not on PATH", "install uv, or run this through: uv run mlops")
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(  # noqa: S603 - fixed program, arguments without a shell
        [uv, "--quiet", *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MlopsError(f"uv {arguments[0]} failed: {done.stderr.strip()[-400:]}", "mend this and run it again")
    return done.stdout
