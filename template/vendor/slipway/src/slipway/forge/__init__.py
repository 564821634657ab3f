"""Git, and the place where changes are reviewed."""
