"""Lets `python -m slipway` do what the `mlops` command does."""

from slipway.cli import main

main()
