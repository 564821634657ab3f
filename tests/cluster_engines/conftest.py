"""The platform as in tests/platform, and real clusters that do its work."""

from in_place import *  # noqa: F403 - fixtures
