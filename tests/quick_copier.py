"""Copier without what it does thousands of times for the same result, in the process of the tests.

What a project becomes is the same to the byte. Copier as it is runs in all tests that start it as a command: those of
the pages, of `mlops template` and of the first five minutes.
"""

import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextvars import Context
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import copier._main
import copier._template
import pytest
from copier._main import Worker
from copier._template import load_template_config
from jinja2 import Environment

_compile: Callable[..., object] = Environment.compile
_parse = Environment._parse
_render_string: Callable[..., str] = Worker._render_string
_load_config: Callable[..., dict[str, object]] = load_template_config
_run: Callable[..., "subprocess.CompletedProcess[bytes]"] = subprocess.run
_code: dict[tuple[object, ...], object] = {}
_configs: dict[bytes, dict[str, object]] = {}


def quick_copier(patch: pytest.MonkeyPatch) -> None:
    """Put the quicker parts in their places."""
    patch.setattr(Environment, "compile", _compile_once)
    patch.setattr(Worker, "_render_string", _render_what_has_marks)
    patch.setattr(Worker, "answers_relpath", property(_answers_relpath))
    patch.setattr(Worker, "_sync_git_index_executable_bit", _nothing_to_do)
    patch.setattr(copier._template, "load_template_config", _load_config_once)
    patch.setattr(copier._main, "subprocess", SimpleNamespace(run=_run_forked))


def _compile_once(
    self: Environment, source: object, name: object = None, filename: object = None, *arguments: object
) -> object:
    """Copier compiles each part of each path anew."""
    # A test that looks into the parser has to see every source.
    if not isinstance(source, str) or Environment._parse is not _parse:
        return _compile(self, source, name, filename, *arguments)
    # The file is another in each clone of the template, and is only told where something fails.
    key = source, self.undefined, self.keep_trailing_newline, *sorted(self.extensions), name, *arguments
    if key not in _code:
        _code[key] = _compile(self, source, name, filename, *arguments)
    return _code[key]


def _render_what_has_marks(self: Worker, string: str, *arguments: object, **keywords: object) -> str:
    """Copier gathers all answers for each part of each path, and few parts need one."""
    return _render_string(self, string, *arguments, **keywords) if "{" in string else string


def _answers_relpath(self: Worker) -> Path:
    """Copier asks where the answers are for each part of each path."""
    return Path(_render_what_has_marks(self, str(self.answers_file or self.template.answers_relpath)))


def _load_config_once(path: Path, *arguments: object, **keywords: object) -> dict[str, object]:
    """`copier.yml` takes PyYAML a fifth of a second."""
    text = path.read_bytes()
    if text not in _configs:
        _configs[text] = _load_config(path, *arguments, **keywords)
    return deepcopy(_configs[text])


def _nothing_to_do(*_: object) -> None:
    """Copier asks Git after each file whether it looks at modes: here it does."""


def _run_forked(command: str | list[str], env: dict[str, str], **how: object) -> "subprocess.CompletedProcess[bytes]":
    """A script of the template starts Copier once more, which is loaded here already."""
    if command[0] != sys.executable:
        return _run(command, env=env, **how)
    if not (script := os.fork()):
        os.environ.clear()
        os.environ.update(env)
        # What this process does, as an update, is nothing to the script.
        os._exit(Context().run(_ended, [*command[1:]]))
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(script, 0)[1]))


def _ended(command: list[str]) -> int:
    """Run a script as Python does; return its exit status."""
    folder = Path(command[0]).parent
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)
    sys.argv, sys.path[:] = command, [str(folder), *sys.path]
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:  # noqa: BLE001 - Python, too, tells of it and ends
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
