"""Running another program to its end: git, uv, dvc, cosign, docker."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.base.errors import MlopsError

#: The exit code that `timeout` of the shell gives, too.
_TOO_LATE = 124


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

    `env` replaces the whole environment. A program that is not there is refused, and `install` says what to do.
    One that takes longer than `timeout_s` is ended, which its `code` does not hide.
    """
    given: dict[str, bytes | int] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - arguments without a shell
            [program, *arguments], cwd=cwd, env=env, capture_output=capture, check=False, timeout=timeout_s, **given
        )
    except subprocess.TimeoutExpired:
        return Done(_TOO_LATE, errors=f"it gave no answer within {timeout_s:g} seconds")
    except FileNotFoundError:
        raise MlopsError(f"{Path(program).name} is not installed", install) from None
    return Done(done.returncode, done.stdout or b"", (done.stderr or b"").decode("utf-8", "replace"))


def last_words(text: str, lines: int = 3) -> str:
    """The end of what a program said, in one line of at most 600 characters."""
    return " ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-600:]
