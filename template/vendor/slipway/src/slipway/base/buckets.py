"""Objects in a bucket: Amazon S3 and what speaks its language, or Azure.

The library is obstore, which the extra `bucket` brings. Credentials come from the environment alone, by the names that
the clouds give them, or from the machine that a cloud runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from slipway.base.errors import MlopsError, first_line
from slipway.base.programs import CLOUDS

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

#: How the address of a bucket begins; DVC writes `azure` for `az`.
SCHEMES = ("s3", "az", "azure")

#: Whoever needs more patience asks again.
RETRY_S, TIMEOUT_S = 20, 60

_DELETED_AT_ONCE = 1000

#: What asking for rights leaves in a bucket whose identity may write and not delete.
OBJECT = "mlops-audit"
#: How a store says that somebody is not allowed to, where its client has no kind of error for that.
_REFUSALS = ("403 Forbidden", "401 Unauthorized", "AccessDenied", "(code: 403)")


class StoredObject(NamedTuple):
    """An object of a bucket: its name below the address, its size in bytes, and a tag that no other content has."""

    name: str
    size: int
    tag: str


class BucketRefusalError(MlopsError):
    """The identity at hand may not do that to a bucket."""


def is_bucket(address: str) -> bool:
    """Whether an address is one of a bucket."""
    return address.partition("://")[0] in SCHEMES and "://" in address


class Bucket:
    """What lies below an address like `s3://bucket/folder`. All it does raises `MlopsError` when it cannot be done."""

    def __init__(self, address: str, patience_s: float | None = None) -> None:
        """Opening asks nobody: a bucket that is away is noticed when it is used.

        With a `patience_s` nothing is tried again, and each request ends within that time.
        """
        self.address = address.rstrip("/")
        self._patience_s = patience_s
        self._opened: ObjectStore | None = None
        require_library(address)

    @property
    def _store(self) -> Any:
        if self._opened is None:
            from obstore.store import from_url

            with self._told("opened"):
                self._opened = from_url(
                    self.address,
                    client_options={
                        "allow_http": _is_plain(), "timeout": timedelta(seconds=self._patience_s or TIMEOUT_S),
                        "connect_timeout": timedelta(seconds=5),
                    },
                    retry_config={
                        "max_retries": 0 if self._patience_s else 3, "retry_timeout": timedelta(seconds=RETRY_S)
                    },
                )  # fmt: skip
        return self._opened

    def list(self, prefix: str = "") -> list[StoredObject]:
        """Every object in a folder, by name."""
        import obstore

        with self._told("listed"):
            found = obstore.list(self._store, prefix=prefix or None).collect()
        return sorted(StoredObject(one["path"], one["size"], _tag(one)) for one in found)

    def files(self) -> Sequence[StoredObject]:
        """Every object, by name, but what web pages make for a folder: empty, and named like what others lie in."""
        found = self.list()
        around = {str(folder) for one in found for folder in PurePosixPath(one.name).parents}
        return [one for one in found if one.size or (one.name and one.name not in around)]

    def held(self, name: str) -> bytes | None:
        """The content of an object, `None` where there is none of this name."""
        import obstore

        with self._told("read"), suppress(FileNotFoundError):
            return bytes(obstore.get(self._store, name).bytes())
        return None

    def fetch(self, one: StoredObject, folder: Path) -> None:
        """Write an object into a folder, some megabytes at a time.

        Refused when it is no longer as listed, if its tag is told.
        """
        import obstore

        with self._told("read"):
            found = obstore.get(self._store, one.name)
            if one.tag and _tag(found.meta) != one.tag:
                raise MlopsError(f"{self.address}/{one.name} was changed while it was read", "run this again")
            with path_in(folder, one.name).open("wb") as file:
                for part in found.stream():
                    file.write(part)

    def create(self, name: str, content: bytes) -> None:
        """Write an object unless there is one of this name, and see that it is there as a whole."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told("written"):
            try:
                obstore.put(self._store, name, content, mode="create")
            except AlreadyExistsError:
                return
            size = obstore.head(self._store, name)["size"]
        if size != len(content):
            raise MlopsError(f"{self.address}/{name} has {size} bytes of {len(content)}", "ask who keeps the bucket")

    def put(self, name: str, content: bytes) -> None:
        """Write an object, in one step, whatever is there."""
        import obstore

        with self._told("written"):
            obstore.put(self._store, name, content)

    def replace(self, one: StoredObject, content: bytes) -> None:
        """Write an object anew, in one step, unless somebody else has changed it."""
        import obstore

        with self._told("written"):
            try:
                now = obstore.head(self._store, one.name)
            except FileNotFoundError:
                now = None
            if now is None or _tag(now) != one.tag:
                raise MlopsError(f"{self.address}/{one.name} was changed by somebody else", "run this again")
            # Some stores go by the tag, others by the version.
            before: Any = {name: value for name, value in now.items() if name in ("e_tag", "version") and value}
            obstore.put(self._store, one.name, content, mode=before)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is no fault."""
        import obstore

        with self._told("cleaned"):
            for start in range(0, len(names), _DELETED_AT_ONCE):
                some = names[start : start + _DELETED_AT_ONCE]
                try:
                    obstore.delete(self._store, some)
                except FileNotFoundError:  # Azure minds, and what was to be deleted after it may still be there
                    for name in some:
                        with suppress(FileNotFoundError):
                            obstore.delete(self._store, name)

    def rights(self) -> dict[str, str]:
        """Use each right once, to list, write, read and delete: what the store said where it refused, else nothing.

        Who may write and not delete leaves one small object. Raises `MlopsError` where the bucket does not answer.
        """
        # Who may not list is refused an object that is not there, too, so it is written before it is read.
        ways: dict[str, Callable[[], object]] = {
            "list": lambda: self.list(f"{OBJECT}s"),
            "write": lambda: self._write_anew(OBJECT),
            "read": lambda: self._look_for(OBJECT),
            "delete": lambda: self.delete([OBJECT]),
        }
        said = {}
        for right, use in ways.items():
            try:
                use()
            except BucketRefusalError as refusal:
                said[right] = refusal.problem
            else:
                said[right] = ""
        return said

    def _write_anew(self, name: str) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told("written"), suppress(AlreadyExistsError):
            obstore.put(self._store, name, b"mlops audit may write here\n", mode="create")

    def _look_for(self, name: str) -> None:
        import obstore

        with self._told("read"), suppress(FileNotFoundError):
            obstore.get(self._store, name)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say in a sentence what went wrong; the library's own message goes on for a page."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            said = first_line(error)
            is_refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
            is_refused = is_refused or any(words in said for words in _REFUSALS)
            raise (BucketRefusalError if is_refused else MlopsError)(
                f"the bucket at {self.address} cannot be {what}: {said}",
                "look whether the bucket is there, and whether the environment has its credentials and address",
            ) from None


def path_in(folder: Path, name: str) -> Path:
    """Where an object's copy lies in a folder, which is made; refused for a name that leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise MlopsError(f"an object is called {name}, which is no path", "name it otherwise")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def require_library(address: str) -> None:
    """Refuse an address where nothing is installed that could reach it."""
    for library in ("obstore", "polars"):
        if find_spec(library) is None:
            raise MlopsError(
                f"{library} is not installed here, and {address} is a bucket",
                "uv add 'slipway-mlops[bucket]', then commit pyproject.toml and uv.lock",
            )


def _tag(one: ObjectMeta) -> str:
    """What changes with an object; a list of Azure has it without the quotation marks of the object's own answer."""
    return (one["e_tag"] or str(one["last_modified"])).strip('"')


def _is_plain() -> bool:
    """Whether the environment names an endpoint without encryption, as that of a store on this machine."""
    return any(
        value.startswith("http://")
        for name, value in os.environ.items()
        if name.startswith(CLOUDS) and "ENDPOINT" in name
    )
