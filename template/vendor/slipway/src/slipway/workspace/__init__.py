"""Making a clone ready to work."""
