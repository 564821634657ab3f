"""Lets `python -m <package>.mlops` do what the `mlops` command does."""

from .cli import main

main()
