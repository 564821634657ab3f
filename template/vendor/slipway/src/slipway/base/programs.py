"""Running another program to its end, and what of this process's environment it gets: git, uv, dvc, cosign, docker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.base.errors import MlopsError

#: The exit code that `timeout` of the shell gives, too.
_TOO_LATE = 124
#: What makes Git look elsewhere than in the folder that it is told, or was for one command of Git alone: hooks run
#: with these set. With GIT_CONFIG_COUNT they are the list of `git rev-parse --local-env-vars`.
GIT_LOCAL = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_DIR",
    "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
})  # fmt: skip

#: How the names of variables begin that let a process in somewhere. A program gets those that its caller names.
CLOUDS = (
    "ALIBABA_CLOUD_", "ARM_", "AWS_", "AZURE_", "B2_", "CLOUDSDK_", "DIGITALOCEAN_", "GCE_", "GCLOUD_", "GOOGLE_",
    "IBMCLOUD_", "OCI_", "OSS_",
)  # fmt: skip
#: What we alone read of the data remote, and hand to DVC in a file.
DATA = ("DATA_REMOTE_",)
#: What we alone read of the database that raw data is taken from.
SOURCE = ("DATA_SOURCE_",)
FORGE = ("ACTIONS_RUNTIME_", "CI_JOB_TOKEN", "GH_", "GITHUB_TOKEN", "GITLAB_TOKEN")
SIGNING = ("ACTIONS_ID_TOKEN_", "COSIGN_", "SIGSTORE_")
TRACKING = ("DATABRICKS_", "MLFLOW_TRACKING_")
#: Settings of Git that come by the environment: other addresses for a host, and often what lets Git in there.
GIT_SETTINGS = ("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
_WITHHELD = (*CLOUDS, *DATA, *SOURCE, *FORGE, *SIGNING, *TRACKING, *GIT_SETTINGS)


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it printed."""

    code: int
    raw: bytes = b""
    errors: str = ""

    @property
    def output(self) -> str:
        """What it printed, as text."""
        return self.raw.decode("utf-8", "replace")

    def last_words(self, lines: int = 3) -> str:
        """The end of its complaints, in one line of at most 600 characters."""
        return last_words(self.errors, lines)


def environment(*needed: str) -> dict[str, str]:
    """The environment of this process for a child: without Git's local variables, and with no credentials but `needed`.

    Proxies, certificates and everything else that is no credential stay.
    """
    withheld = tuple(prefix for prefix in _WITHHELD if prefix not in needed)
    return {
        name: value for name, value in os.environ.items()
        if name.upper() not in GIT_LOCAL and not name.upper().startswith(withheld)
    }  # fmt: skip


def with_git_settings(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """An environment with settings of Git after those that it has, in the way of `git help config`, ENVIRONMENT.

    Raises `MlopsError` when its GIT_CONFIG_COUNT is no number.
    """
    said = environment.get("GIT_CONFIG_COUNT") or "0"
    if not said.isdecimal():
        raise MlopsError(f"GIT_CONFIG_COUNT in the environment is {said}, and no number", "unset GIT_CONFIG_COUNT")
    have = int(said)
    added = dict(environment) | {"GIT_CONFIG_COUNT": str(have + len(settings))}
    for number, (name, value) in enumerate(settings.items(), start=have):
        added |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return added


def run(
    program: str,
    *arguments: str,
    install: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    capture: bool = True,
    timeout_s: float | None = None,
) -> Done:
    """Run a program without a shell, whatever its exit code; without `capture` it prints as it goes.

    `env` is the whole environment; without it that is `environment()`, which has no credentials.
    A program that is not there is refused, and `install` says what to do.
    One that takes longer than `timeout_s` is ended, which its `code` does not hide.
    """
    given: dict[str, bytes | int] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - arguments without a shell
            [program, *arguments],
            cwd=cwd,
            env=env or environment(),
            capture_output=capture,
            check=False,
            timeout=timeout_s,
            **given,
        )
    except subprocess.TimeoutExpired:
        return Done(_TOO_LATE, errors=f"it gave no answer within {timeout_s:g} seconds")
    except FileNotFoundError:
        raise MlopsError(f"{Path(program).name} is not installed", install) from None
    return Done(done.returncode, done.stdout or b"", (done.stderr or b"").decode("utf-8", "replace"))


def last_words(text: str, lines: int = 3) -> str:
    """The end of what a program said, in one line of at most 600 characters."""
    return " ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-600:]
