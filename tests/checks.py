"""What must hold for every project, whatever the answers."""

import ast
import configparser
import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml
from rendering import files


def _config(text: str) -> None:
    configparser.ConfigParser().read_string(text)


PARSERS: dict[str, Callable[[str], object]] = {
    ".py": ast.parse,
    ".ipynb": json.loads,
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),
    ".yml": lambda text: list(yaml.safe_load_all(text)),
    "config": _config,
}


def parse(project: Path) -> None:
    """Read every file of the project the way its name asks for."""
    for path in files(project).values():
        reader = PARSERS.get(path.suffix or path.name)
        if reader is not None:
            reader(path.read_text(encoding="utf-8"))


def ruff(project: Path, *arguments: str) -> None:
    """Run ruff with the project's own settings."""
    done = subprocess.run(["ruff", *arguments], cwd=project, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
