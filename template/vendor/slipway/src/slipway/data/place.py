"""Where the default remote of DVC is, and whether it can be used from here, without asking it."""

from __future__ import annotations

import configparser
import io
import os
from dataclasses import dataclass
from pathlib import Path

from slipway.base.files import write
from slipway.data import remotes

#: What one person has set, in the folder `.dvc`. It is in no commit.
LOCAL = "config.local"


def default_remote(root: Path) -> tuple[str, str]:
    """The name and the address of the default remote; both are empty when there is none."""
    config = _settings(root)
    name = config.get("core", "remote", fallback="")
    return name, config.get(f"'remote \"{name}\"'", "url", fallback="")


def _settings(root: Path) -> configparser.ConfigParser:
    # An address may hold a percent sign, and so may a password in what a person has set.
    config = configparser.ConfigParser(interpolation=None)
    config.read([root / ".dvc" / "config", root / ".dvc" / LOCAL], encoding="utf-8")
    return config


def share(root: Path, cache: Path, other: Path) -> None:
    """Let another checkout of the same repository use this one's cache and remotes, whose paths begin at `.dvc/`."""
    config = _settings(root)
    for section in config.sections():
        for key, value in config[section].items() if section.startswith("'remote ") else ():
            there = root / ".dvc" / value
            if "://" not in value and (key == "url" or there.exists()):
                config[section][key] = str(there.resolve())
    config.read_dict({"cache": {"dir": str(cache)}})
    text = io.StringIO()
    config.write(text)
    write(other / ".dvc" / LOCAL, text.getvalue().encode(), mode=0o600)


def local_folder(root: Path) -> Path | None:
    """The folder of the default remote, if it is a folder."""
    url = default_remote(root)[1]
    if not url or "://" in url:
        return None
    return (root / ".dvc" / url).resolve()


@dataclass(frozen=True)
class Reach:
    """Whether the default remote can be used from here, and how it is or would be reached."""

    there: bool
    how: str


def reach(root: Path) -> Reach:
    """Look at what the default remote needs; nothing is asked over a network."""
    folder = local_folder(root)
    if folder is not None:
        return Reach(True, f"the folder {folder}") if folder.is_dir() else Reach(False, "a remote that jobs reach")
    url = default_remote(root)[1]
    if not url:
        return Reach(False, "a remote in .dvc/config")
    kind = remotes.of(url)
    named = kind.credentials + kind.roles if kind else ()
    # On a laptop a client finds its own files; a kind that is not in the table is DVC's business alone.
    there = any(os.environ.get(name) for name in named) or not named or not os.environ.get("CI")
    what = "the bucket" if kind is None or kind.is_bucket else "the data remote"
    return Reach(there, f"{what} in .dvc/config" if there else f"credentials for {what}")
