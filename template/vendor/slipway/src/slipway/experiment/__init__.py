"""A challenger beside the champion on real requests, and what that shows."""
