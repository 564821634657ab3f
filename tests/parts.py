"""Commands that the system brings, or a skipped test that says how to get them."""

import os
import shutil
import subprocess
import sys
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


def torch_index(folder: Path) -> str:
    """Make an index of packages with a PyTorch for CPUs alone, and return its address; without one, skip the test.

    uv would fetch gigabytes for a GPU, and PyTorch's own index cannot be reached from everywhere: the wheel lies where
    pip's configuration says.
    """
    asked = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    places = subprocess.run(asked, check=False, capture_output=True, text=True, encoding="utf-8").stdout.split()
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheel = next((found for place in places for found in Path(place).glob(f"torch-*+cpu-{version}-*.whl")), None)
    if wheel is None:
        pytest.skip(f"a wheel torch-*+cpu-{version}-*.whl is missing in the folders that pip's find-links names")
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "index.html").write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>\n', encoding="utf-8")
    return folder.as_uri()
