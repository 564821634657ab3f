"""The program cosign: where it is, whether it is new enough, and running it.

Before the versions named here it took signatures for good that are not (CVE-2026-22703). Its second and its third
major differ in their options and in the form of a bundle; what is asked of it here both understand.
"""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path

from slipway.base import programs
from slipway.base.errors import MlopsError

#: The first version of each major that may be trusted; every later major may.
MENDED = {2: (2, 6, 2), 3: (3, 0, 4)}
INSTALL = "install version 3.0.4 or newer, or 2.6.2 or newer of the second: https://docs.sigstore.dev/cosign"
#: What the mended ones know and the older ones of the second major do not.
_OPTION = "--use-signing-config"


def problem() -> str:
    """Why signatures cannot be made or checked here; empty when they can."""
    ages = [_age(program) for program in _places()]
    return "" if "" in ages else next(iter(ages), "cosign is not installed")


def run(*arguments: str) -> programs.Done:
    """Run it to its end, whatever comes of it; refused where it is missing or too old."""
    if why := problem():
        raise MlopsError(why, INSTALL)
    program = next(one for one in _places() if not _age(one))
    # Keys and images may lie with a cloud.
    environment = programs.environment(*programs.SIGNING, *programs.CLOUDS)
    return programs.run(program, *arguments, env=environment, install=INSTALL)


def _places() -> list[str]:
    """Where it is: on PATH, and where an earlier job has put it on this machine."""
    found = (shutil.which("cosign"), shutil.which("cosign", path=str(Path.home() / ".cosign")))
    return [program for program in found if program]


@cache
def _age(program: str) -> str:
    """Say that it is too old; a build that does not tell its version is known by its options."""
    said = programs.run(program, "version", "--json", install=INSTALL).output
    try:
        version = str(json.loads(said)["gitVersion"])
    except (ValueError, KeyError):
        version = ""
    told = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if told:
        number = tuple(map(int, told.groups()))
        is_new = number >= MENDED.get(number[0], (min(MENDED), 0, 0))
    else:
        is_new = _OPTION in programs.run(program, "attest-blob", "--help", install=INSTALL).output
    return "" if is_new else f"cosign {version or 'of an unknown version'} at {program} is too old to be trusted"
