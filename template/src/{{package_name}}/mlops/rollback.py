"""What follows when the champion's quality is broken: the version before, proposed or put back."""

from __future__ import annotations

from collections.abc import Callable

from . import deploy, environments, git, github
from .errors import MlopsError
from .project import Project, QualityPolicy


def roll_back(project: Project, name: str, rule: QualityPolicy, say: Callable[[str], None]) -> str:
    """Propose the version before, or go back to it, as the rule says; returns one sentence on what came of it."""
    try:
        branch, release = environments.rollback(project, name, propose=rule.action == "propose")
        if branch:
            sent = github.propose(project, branch)
            return f"version {release.version} is proposed for {name} in branch {branch}; {sent}"
        deploy.deploy(project, name, say)
        sent = ""
        if "origin" in git.git(project.root, "remote").split():
            sent = f"; {github.publish(project, f'rollback/{name}-v{release.version}')}"
    except MlopsError as refused:
        return f"{refused.problem}; next: {refused.next_step}"
    return f"{name} is back at version {release.version}{sent}"
