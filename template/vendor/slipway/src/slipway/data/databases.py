"""A database that is asked for rows, and that nothing of what is asked can change."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

from slipway.base.errors import MlopsError, first_line
from slipway.settings.params import IN_ENVIRONMENT

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

#: The databases that are known to write nothing, whatever they are asked.
READ_ONLY = ("postgresql", "sqlite")
CONNECT_S = 10


@contextmanager
def reading(source: str, *, setting: str, what: str, query: str, kinds: Collection[str] = ()) -> Iterator[Connection]:
    """Connect to the database whose address a variable of the environment has, as `source` names it: `env:DATABASE`.

    `setting` says where that stands, `what` is read and by which `query`, for the sentences of a refusal. Times with a
    zone come in UTC. Raises `MlopsError` for a variable that is not set, for a database that is none of `kinds`, where
    they are given, and for what it complains of, without its password; one that is silent is waited for ten seconds.
    """
    from sqlalchemy.exc import SQLAlchemyError

    variable = source.removeprefix(IN_ENVIRONMENT)
    address = os.environ.get(variable)
    if not address:
        raise MlopsError(
            f"{setting}: the environment has no {variable}",
            "set it to the database's address, like postgresql+psycopg2://user:password@host/name",
        )
    try:
        url = _url(address)
        if kinds and url.get_backend_name() not in kinds:
            raise MlopsError(
                f"{setting}: {url.get_backend_name()} in {variable} is not known to write nothing",
                f"take them from {' or '.join(kinds)}",
            )
        engine = _engine(url)
        with engine.connect() as connection:
            _only_read(connection)
            yield connection.execution_options(stream_results=True)
    except (SQLAlchemyError, ImportError) as error:
        said = first_line(getattr(error, "orig", None) or error)
        raise MlopsError(
            f"{what} cannot be read from the database of {variable}: {_without_password(said, address, variable)}",
            f"look whether it is there, whether its driver is installed, and whether {query} runs there",
        ) from None


def _url(address: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address)
    except ValueError:
        raise ArgumentError("the port in its address is no number") from None


def _engine(url: URL) -> Engine:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import ArgumentError

    kind, file = url.get_backend_name(), url.database
    # SQLite would make the file.
    if kind == "sqlite" and file and not file.startswith(("file:", ":memory:")) and not Path(file).is_file():
        raise ArgumentError(f"there is no file {file}")
    # Whoever needs more patience says so in the address.
    patience = {"connect_timeout": CONNECT_S} if kind == "postgresql" and "connect_timeout" not in url.query else {}
    return create_engine(url, connect_args=patience, poolclass=NullPool)


def _only_read(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execution_options(postgresql_readonly=True)
        connection.exec_driver_sql("set time zone 'UTC'")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("pragma query_only = on")


def _without_password(said: str, address: str, variable: str) -> str:
    said = said.replace(address, f"${variable}")
    written = address.rpartition("@")[0].partition("://")[2].partition(":")[2]
    # What stands behind an @ that should have been written as %40 is taken for the host, which a complaint names.
    for secret in {unquote(written), *written.split("@")} - {""}:
        said = said.replace(secret, "…")
    return said


def text_of(value: Any, query: str, column: str, row: int) -> str | None:
    """A value of a database as a file has it: to the digit, in ISO 8601; what has no such text is refused."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    # The driver of PostgreSQL gives these for infinity.
    if isinstance(value, datetime) and value.replace(tzinfo=None) in (datetime.max, datetime.min):
        raise MlopsError(f"{query} gives infinity as {column} in row {row}", "give another time, or none, in the query")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int | float | UUID):
        return str(value)
    raise MlopsError(
        f"{query} gives a {type(value).__name__} as {column} in row {row}",
        "cast it to a text, number or time in the query",
    )
