"""Containers on a machine, with Docker Compose."""
