"""The example, as a team has it."""
