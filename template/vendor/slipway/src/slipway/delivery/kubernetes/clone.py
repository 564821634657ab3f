"""What a Job in a cluster runs first: a clone of the repository, in whose place the image has only what it was made of.

    REPOSITORY, BRANCH      from the ConfigMap `jobs`
    COMMIT                  in the place of the branch's newest one, if it is there
    /git                    the Secret `git`: `username` and `password`, where Git asks for them

So a Job does what the reviewed files say on its day, with the packages of its image.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.base.programs import Done

LOGIN, TARGET = Path("/git"), Path("/clone")
LOCK = "uv.lock"
#: Of whoever commits in a Job, where its variables do not say otherwise.
_IDENTITY = ("user.name=mlops", "user.email=mlops@localhost")


def clone(image: Path, target: Path, login: Path) -> str:
    """Clone as the variables say, and return a sentence on it; `image` is the folder with what an image was made of.

    Raises `MlopsError` where a variable is missing or holds a password, where Git is not let in or finds no such branch
    or commit, and where the clone wants other packages than the image has.
    """
    repository, branch, commit = _told("REPOSITORY"), _told("BRANCH"), os.environ.get("COMMIT", "")
    if urlsplit(repository).password:
        raise MlopsError("REPOSITORY in the ConfigMap jobs holds a password", f"take it out, and {_secret()}")
    settings = [*_IDENTITY, *([_helper(login)] if (login / "password").is_file() else [])]
    how = [word for one in settings for word in ("--config", one)]
    done = _git("clone", "--quiet", *how, "--branch", branch, "--", repository, str(target))
    if done.code:
        raise MlopsError(
            f"{repository}, branch {branch}, cannot be cloned: {done.last_words()}",
            f"see whether the ConfigMap jobs names it rightly and Jobs reach it; where it asks who comes, {_secret()}",
        )
    # The folder is a volume, which belongs to root.
    inside = ("-c", f"safe.directory={target}", "-C", str(target))
    if commit and _git(*inside, "checkout", "--quiet", "-B", branch, commit, "--").code:
        raise MlopsError(f"{repository} has no commit {commit} in its history", "push it, or name another COMMIT")
    there = target / LOCK
    if not there.is_file() or there.read_bytes() != (image / LOCK).read_bytes():
        raise MlopsError(
            f"{LOCK} of the branch {branch} is not the one that this image was made with, so it has other packages",
            "mlops build monitor train --push, and name the digests in kustomization.yaml of the overlay",
        )
    head = _git(*inside, "rev-parse", "--short=12", "HEAD").output.strip()
    return f"cloned {repository}, branch {branch}, commit {head}"


def _told(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise MlopsError(f"nobody says {name}", "write it into the ConfigMap jobs, in kustomization.yaml of the overlay")


def _secret() -> str:
    command = "kubectl --namespace NAMESPACE create secret generic git"
    return f"{command} --from-literal=username=... --from-literal=password=..."


def _helper(login: Path) -> str:
    """What lets Git in, now and when a later container sends something: it reads the files of the Secret each time."""
    said = " ".join(f'echo "{name}=$(cat {login}/{name})";' for name in ("username", "password"))
    return f"credential.helper=!f() {{ {said} }}; f"


def _git(*arguments: str) -> Done:
    # A question for a password that nobody sees would be waited on until the Job's deadline.
    environment = programs.environment(*programs.GIT_SETTINGS) | {"GIT_TERMINAL_PROMPT": "0"}
    return programs.run("git", *arguments, env=environment, install="take an image that mlops build has made")


if __name__ == "__main__":
    try:
        sys.stdout.write(clone(Path.cwd(), TARGET, LOGIN) + "\n")
    except MlopsError as error:
        sys.exit(str(error))
