"""Copier without what it does thousands of times for the same result, in the process of the tests.

What a project becomes is the same to the byte. Copier as it is runs wherever a command starts it: in the tests of the
pages, of workflows and of `mlops template`.
"""

import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import Context
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import copier._main
import copier._template
import pytest
from copier._main import Worker
from copier._template import load_template_config
from jinja2 import Environment
from plumbum import local

COPIER = ["-m", "copier"]

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
    # What a script of the template, and an update, start is loaded in this process already.
    forking = SimpleNamespace(**vars(subprocess) | {"run": _run_forked})
    patch.setattr(copier._main, "subprocess", forking)
    patch.setattr("slipway.base.programs.subprocess", forking)


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


def _run_forked(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    capture_output: bool = False,
    **how: object,
) -> "subprocess.CompletedProcess[bytes]":
    """Copier, and what uses it, is half a second's loading."""
    program, *arguments = command
    if program != sys.executable or not (arguments[:2] == COPIER or arguments[0].endswith(".py")):
        return _run(command, env=env, cwd=cwd, capture_output=capture_output, **how)
    with ExitStack() as stack:
        printed = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2 * capture_output)]
        if not (child := os.fork()):
            # What this process does, as an update, is nothing to the other.
            os._exit(Context().run(_ended, arguments, env, cwd, [file.fileno() for file in printed]))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return subprocess.CompletedProcess(command, code, *(_content(file) for file in printed))


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _ended(command: list[str], env: Mapping[str, str], cwd: Path | None, printed: list[int]) -> int:
    """Run a script or a module as Python does; return its exit status."""
    os.environ.clear()
    os.environ.update(env)
    local.env.clear()
    local.env.update(env)
    local.cwd.chdir(cwd or Path.cwd())
    for file, (number, name) in zip(printed, ((1, "stdout"), (2, "stderr")), strict=False):
        os.dup2(file, number)
        setattr(sys, name, os.fdopen(number, "w", closefd=False))
    try:
        if command[:2] == COPIER:
            sys.argv = command[1:]
            runpy.run_module("copier", run_name="__main__")
        else:
            folder = Path(command[0]).parent
            for path in folder.glob("*.py"):
                sys.modules.pop(path.stem, None)
            sys.argv, sys.path[:] = command, [str(folder), *sys.path]
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:  # noqa: BLE001 - Python, too, tells of it and ends
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
