"""Registered versions: what is in them, who signed them, how two of them compare."""
