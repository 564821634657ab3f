"""The files in which a team says what it wants, typed, and edits of them that keep the rest as it was."""
