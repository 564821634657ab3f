"""Commands that the system brings, or a skipped test that says how to get them."""

import os
import shutil
from pathlib import Path

import pytest
from rendering import ROOT

#: Where `.ci/install` puts what this release of Debian does not have.
TOOLS = Path("/usr/local/lib/slipway-tests")


def part(name: str) -> Path:
    """Return where a command of `.ci/packages` is; without it, skip the test."""
    for line in (ROOT / ".ci" / "packages").read_text(encoding="utf-8").splitlines():
        file, _, packages = line.partition(" ")
        if Path(file).name != name:
            continue
        # By its place first: another program of the same name may come earlier on PATH.
        at = max(map(str, Path("/").glob(file.removeprefix("/"))), default=shutil.which(name))
        if at is not None:
            return Path(at)
        pytest.skip(f"{name} is missing: .ci/install installs it, from Debian's package {packages}")
    raise KeyError(f".ci/packages has no line for {name}")


def needs(*names: str) -> None:
    """Skip the test where one of these commands is missing."""
    for name in names:
        part(name)


def needs_root(name: str) -> None:
    """Skip the test where a server cannot be started for want of rights."""
    if os.geteuid() != 0:
        pytest.skip(f"{name} needs root: run the tests with sudo")
