"""Numbers for people, and numbers as they are kept."""

from __future__ import annotations


def counted(number: int, noun: str, many: str = "") -> str:
    """A number with its noun, whose plural is `many` where an s does not make it.

    >>> counted(1, "row"), counted(1200, "row"), counted(2, "category", "categories")
    ('1 row', '1,200 rows', '2 categories')
    """
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def significant(value: float, digits: int = 7) -> float:
    """A number with so many significant digits; a 32-bit number has about seven.

    >>> significant(12.300000190734863), significant(1.23456789e-07), significant(0.0)
    (12.3, 1.234568e-07, 0.0)
    """
    return float(f"{value:.{digits}g}")


def shown(value: float, sign: str = "") -> str:
    """A figure for a table: four digits after the point, or as many significant ones where it is small.

    >>> shown(0.75), shown(-0.5, "+"), shown(0.0), shown(1.23456e-07)
    ('0.7500', '-0.5000', '0.0000', '1.235e-07')
    """
    is_small = 0 < abs(value) < 0.01
    return f"{value:{sign}.4g}" if is_small else f"{value:{sign}z.4f}"
