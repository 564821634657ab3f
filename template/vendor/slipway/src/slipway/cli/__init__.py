"""The command line: each command is a few lines that call one module and print what it found.

Heavy libraries are imported inside the commands, so that `mlops --help` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.metadata import version as installed
from typing import Annotated

import typer

from slipway.base.errors import MlopsError
from slipway.cli import (
    access,
    containers,
    delivery,
    evidence,
    experiment,
    monitoring,
    policy,
    proposals,
    registry,
    serving,
    template,
    training,
    workspace,
)
from slipway.cli.common import EPILOG

app = typer.Typer(
    name="mlops",
    help="Take a model from raw data to production and back.\n\n"
    "Start with `mlops setup`. Settings live in params.yaml and policy.yaml.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: In the order in which `mlops --help` shows them.
COMMANDS = (
    workspace.setup,
    training.snapshot,
    training.pipeline,
    training.stage,
    training.search,
    training.candidates,
    registry.register,
    registry.sign,
    experiment.compare,
    experiment.decide,
    delivery.promote,
    delivery.challenge,
    delivery.deploy,
    delivery.rollback,
    delivery.status,
    delivery.stop,
    serving.serve,
    serving.batch,
    serving.upload,
    monitoring.monitor,
    training.backtest,
    evidence.trace,
    proposals.widen,
    proposals.retrain,
    workspace.connections,
    workspace.rules,
    workspace.advisories,
    evidence.governance,
    evidence.audit,
    containers.build,
)
GROUPS = (access.app, evidence.privacy, template.app, policy.app, containers.app)

for _command in COMMANDS:
    app.command()(_command)
for _group in GROUPS:
    app.add_typer(_group)


def main() -> None:
    """Run the command line; what a user can solve is two lines, what is our fault a full trace."""
    # A command loads thousands of modules, of which nothing is garbage: looking for some, while it runs and once more
    # when it ends, is more than a third of its time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    try:
        app()
    except MlopsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(installed("slipway-mlops"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version
