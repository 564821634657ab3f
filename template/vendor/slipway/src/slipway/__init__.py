"""What a team's own modules import. Everything else in this package may change with any version."""

from typing import TYPE_CHECKING, Any

from slipway.contract.pictures import Picture
from slipway.contract.rows import Contract, Row

if TYPE_CHECKING:
    from slipway.contract.columns import Column, Columns

__all__ = ["Column", "Columns", "Contract", "Picture", "Row"]


def __getattr__(name: str) -> Any:
    """Load numpy only for those who use columns: most commands never do."""
    if name not in ("Column", "Columns"):
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from slipway.contract import columns

    return getattr(columns, name)
