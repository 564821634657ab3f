"""What follows when the champion's quality is broken: the version before, proposed or put back."""

from __future__ import annotations

from collections.abc import Callable

from slipway.base.errors import MlopsError
from slipway.delivery import deploy, environments
from slipway.forge import git, hosting
from slipway.settings.policy import QualityPolicy
from slipway.settings.project import Project


def roll_back(project: Project, name: str, rule: QualityPolicy, say: Callable[[str], None]) -> str:
    """Propose the version before, or go back to it, as the rule says; returns one sentence on what came of it."""
    try:
        proposal, release = environments.rollback(project, name, propose=rule.action == "propose")
        if proposal:
            return f"{proposal}; {proposal.send(project)}"
        deploy.deploy(project, name, say)
        sent = ""
        if "origin" in git.git(project.root, "remote").split():
            sent = f"; {hosting.of(project).publish(f'rollback/{name}-v{release.version}')}"
    except MlopsError as refused:
        return f"{refused.problem}; next: {refused.next_step}"
    return f"{name} is back at version {release.version}{sent}"
