"""Fixtures of the platform: `finished` is a small project whose stages have run, `project` a copy of it to change."""

pytest_plugins = ["slipway.testing"]
