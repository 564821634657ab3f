"""What an audit finds, where it may be run, and what stands in the way of a platform that came to a team's files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import git
from slipway.base.errors import MlopsError
from slipway.cli import app
from slipway.template import audit as auditing
from slipway.template import vendored
from typer.testing import CliRunner

Edit = Callable[[dict[str, str | None]], None]
AUDIT = "from pathlib import Path; from slipway.template import audit as a; print(len(a.audit(Path.cwd()).files))"


def test_an_audit_in_a_hook_leaves_the_commit_alone(copied: Path) -> None:
    """`git commit --all` tells its hooks of an index of its own; what is rendered must not get there."""
    hook = copied / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{AUDIT}'\n", encoding="utf-8")
    hook.chmod(0o755)
    (copied / "settings.txt").write_text("ours\n", encoding="utf-8")

    done = subprocess.run(
        ["git", "commit", "--all", "--message", "Ours"], cwd=copied, capture_output=True, text=True, check=True
    )

    assert done.stderr.strip() == "0"
    assert git(copied, "show", "HEAD:settings.txt") == "ours\n"
    assert git(copied, "diff", "--name-only", "HEAD~1", "HEAD").split() == ["settings.txt"]
    assert git(copied, "status", "--porcelain") == ""


def test_an_audit_needs_no_identity_and_no_network_after_the_first(
    copied: Path, edit: Edit, small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = Path(shutil.copytree(small_template, tmp_path / "template"))
    recorded = (copied / ".copier-answers.yml").read_text(encoding="utf-8")
    edit({".copier-answers.yml": recorded.replace(str(small_template), str(template)), "settings.txt": "ours\n"})
    git(copied, "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    first = auditing.audit(copied)
    shutil.rmtree(template)
    second = auditing.audit(copied)

    assert [(file.owner, file.path) for file in first.files] == [("platform", "settings.txt")]
    assert first.kept == ""
    assert (second.files, second.rendered) == (first.files, first.rendered)
    assert second.kept.startswith(f"the template at {template} does not answer: ")


def test_an_audit_that_never_had_the_template_says_so(copied: Path, edit: Edit) -> None:
    edit({".copier-answers.yml": "_commit: v1.0.0\n_src_path: /nowhere\n"})

    with pytest.raises(MlopsError, match="the template at /nowhere does not answer"):
        auditing.audit(copied)


def test_an_audit_says_what_stands_in_the_way_of_the_platform(
    copied: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that was there before, and into which the template was copied."""
    git(copied, "rm", "--quiet", "--cached", "-r", "docs")
    edit({
        ".gitignore": "*.log\ndocs/\n",
        "trams/__init__.py": "",
        "dvc.yaml": "stages:\n  train:\n    cmd: python fit.py\n  export:\n    cmd: nice mlops stage export\n",
        "vendor/slipway/pyproject.toml": '[project]\nversion = "1.2.3"\n',
    })  # fmt: skip
    platform = copied / vendored.FOLDER
    (platform / vendored.SUMS).write_text(vendored.as_text(vendored.sums(platform)), encoding="utf-8")
    monkeypatch.chdir(copied)

    done = CliRunner().invoke(app, ["template", "audit"])

    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert "shared    missing     docs/one.md" in lines
    assert lines[-7:] == [
        "2 files of the template can be in no commit, because .gitignore ignores docs/ (line 2)",
        "next: take that line out, then git add --all or: git add --force -- docs/one.md docs/two.md",
        "trams/ and src/trams/ are two packages of one name, of which Python imports either",
        "next: git mv --force trams/* src/trams/",
        "dvc.yaml has stages of yours under names of the platform's: train",
        "next: give yours other names, like own-train, in dvc.yaml and dvc.lock, before you add the platform's",
        "the platform is as its version made it",
    ]


def test_an_audit_of_a_new_project_finds_nothing(made: Path) -> None:
    found = auditing.audit(made)

    assert (found.files, found.obstacles, found.kept) == ([], [], "")
