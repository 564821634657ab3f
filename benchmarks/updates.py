"""How long a copy and an update take, beside bare Copier on the same files."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]

from rendering import commit, files, git, history  # noqa: E402 - found by the lines above

COPIER = [sys.executable, "-m", "copier"]
PROPOSE = [
    sys.executable,
    "-c",
    "from pathlib import Path; from slipway.template import update; update.propose_update(update.prepare(Path.cwd()))",
]
QUIET = ["--quiet", "--defaults"]
ROUNDS = 5


def main() -> None:
    """Time each command on our template and on one of the same files without a question."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ours, bare = place / "ours", place / "bare"
        ours.mkdir()
        history(ours).release("v1000.0.0", improve)
        _make_bare(bare, ours)
        bare_copy, bare_update = _copy(bare, place), _update(bare, place, [*COPIER, "update", *QUIET])
        rows = [
            ("copier copy", _copy(ours, place), 1.5, bare_copy),
            ("copier update", _update(ours, place, [*COPIER, "update", *QUIET]), 5.0, bare_update),
            ("mlops template update", _update(ours, place, PROPOSE), 5.0, bare_update),
        ]
    print("| what | seconds | limit | bare Copier, same files | ratio |\n|---|--:|--:|--:|--:|")
    for what, mine, limit, others in rows:
        print(f"| {what} | {mine:.2f} | {limit} | {others:.2f} | {mine / others:.2f} |")


def improve(template: Path) -> None:
    """Change a tenth of the files."""
    for path in [path for path in sorted((template / "template").rglob("*")) if path.suffix in (".py", ".yaml")][::10]:
        path.write_bytes(b"# improved\n" + path.read_bytes())


def _make_bare(bare: Path, ours: Path) -> None:
    """The same two versions of the same files, as a template without questions."""
    git(ROOT, "init", "--quiet", str(bare))
    for version in git(ours, "tag", "--sort=creatordate", "--sort=version:refname").split()[-2:]:
        shutil.rmtree(bare / "template", ignore_errors=True)
        subprocess.run([*COPIER, "copy", *QUIET, f"--vcs-ref={version}", str(ours), str(bare / "template")], check=True)
        (bare / "template" / ".copier-answers.yml").unlink()
        answers = bare / "template" / "{{_copier_conf.answers_file}}.jinja"
        answers.write_text("{{ _copier_answers | to_nice_yaml -}}\n", encoding="utf-8")
        (bare / "copier.yml").write_text("_subdirectory: template\n", encoding="utf-8")
        commit(bare, version)
        git(bare, "tag", version)
    assert len(files(bare / "template")) > 50


def _copy(template: Path, place: Path) -> float:
    return _best([*COPIER, "copy", *QUIET, str(template)], place, place / "copied")


def _update(template: Path, place: Path, command: list[str]) -> float:
    before = git(template, "tag", "--sort=version:refname").split()[-2]
    project = Path(tempfile.mkdtemp(dir=place)) / "project"
    subprocess.run([*COPIER, "copy", *QUIET, f"--vcs-ref={before}", str(template), str(project)], check=True)
    git(project, "init", "--quiet")
    commit(project, "A project")
    return _best(command, project)


def _best(command: list[str], folder: Path, target: Path | None = None) -> float:
    took = []
    environment = os.environ | {"PYTHONPATH": str(ROOT / "template" / "vendor" / "slipway" / "src")}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([*command, *([str(target)] if target else [])], cwd=folder, env=environment, check=True)
        took.append(time.perf_counter() - start)
        if target:
            shutil.rmtree(target)
        else:
            git(folder, "reset", "--quiet", "--hard")
            for branch in git(folder, "branch", "--list", "template/*", "--format=%(refname:short)").split():
                git(folder, "branch", "--quiet", "-D", branch)
            git(folder, "clean", "--quiet", "-d", "--force")
    # The fastest: whatever else the machine does can only slow a round down.
    return min(took)


if __name__ == "__main__":
    main()
