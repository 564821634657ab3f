"""A supervised process on a machine, without containers."""
