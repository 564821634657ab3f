"""What a team's own modules import. Everything else in this package may change with any version."""

from slipway.contract.rows import Column, Columns, Contract, Row

__all__ = ["Column", "Columns", "Contract", "Row"]
