"""What the prediction log may hold: `privacy.fields` in policy.yaml, kept before anything is written.

A field is dropped, or replaced by its HMAC-SHA256 under a random key of the environment. Equal values have equal
hashes, so that joining and grouping go on, and who has only the log cannot try values: the key lies elsewhere, in
`.mlops/keys/<environment>/`, readable by its owner alone. Every server imports this module, so it stays light.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from slipway import team
from slipway.base import files
from slipway.base.errors import MlopsError
from slipway.contract import logged
from slipway.contract.rows import Row
from slipway.settings.policy import Hidden
from slipway.settings.project import Project

KEY_BYTES = 32

#: What a hash begins with; 128 bits of it follow.
MARK = "hmac:"
_DIGITS = 32


def is_hash(value: object) -> bool:
    """Whether a logged value is a hash of what was asked."""
    return isinstance(value, str) and value.startswith(MARK)


class Mask:
    """Turns a row into what the log may hold of it."""

    def __init__(self, rules: Mapping[str, Hidden], key: bytes = b"") -> None:
        self.hashed = [name for name, rule in rules.items() if rule == "hash"]
        # Numbers of a picture tell of it as its digest does, and nobody joins by them.
        beside = logged.with_numbers(team.CONTRACT, rules)[len(rules) :] if rules else []
        self._dropped = [*(name for name, rule in rules.items() if rule == "drop"), *beside]
        self._key = key

    def __call__(self, row: Row) -> dict[str, Any]:
        """Return the row as the log may have it; a missing value stays missing."""
        masked = logged.row_of(team.CONTRACT, row)
        for name in self._dropped:
            masked.pop(name, None)
        for name in self.hashed:
            if name in masked:
                masked[name] = self.hash(name, masked[name])
        return masked

    def hash(self, name: str, value: Any) -> str | None:
        """The hash of a field's value, which may be one already; the same value of another field has another."""
        if value is None or is_hash(value):
            masked: str | None = value
            return masked
        content = name.encode() + b"\0" + msgspec.json.encode(value)
        return MARK + hmac.digest(self._key, content, "sha256").hex()[:_DIGITS]


def mask(state: Path, environment: str, rules: Mapping[str, Hidden]) -> Mask | None:
    """What hides these fields in the log of an environment; `None` when there are none.

    Raises `MlopsError` when there is something to hash and no key to do it with.
    """
    if "hash" not in rules.values():
        return Mask(rules) if rules else None
    return Mask(rules, _key(state, environment, "policy.yaml hashes columns"))


def mark_of(state: Path, environment: str) -> Callable[[str], str]:
    """What makes of the name of who asks what the log of an environment may hold; raises as `mask` does."""
    key = _key(state, environment, "who asks is hashed")
    return lambda name: str(Mask({}, key).hash("identity", name))


def _key(state: Path, environment: str, what: str) -> bytes:
    path = folder(state, environment) / "log.key"
    key = path.read_bytes() if path.is_file() else b""
    if len(key) != KEY_BYTES:
        raise MlopsError(
            f"{what} in the log of {environment}, and there is no key for that in {path}",
            f"mlops deploy {environment}, which makes one",
        )
    return key


def mask_of(project: Project, environment: str) -> Mask | None:
    """What hides fields in the log of an environment, as today's policy has it."""
    return mask(project.state, environment, project.policy.privacy.hidden)


def prepare(project: Project, environment: str, *, makes_key: bool = True) -> dict[str, Hidden]:
    """Return the fields to hide, with the key that hashing needs made once; refuses names that no row has."""
    require_known(project)
    hidden = project.policy.privacy.hidden
    if makes_key and "hash" in hidden.values():
        make_key(project.state, environment)
    return hidden


def require_known(project: Project) -> None:
    """Refuse a rule for a field that no request holds: it would hide nothing."""
    known = [field.name for field in team.CONTRACT.fields]
    if unknown := [name for name in project.policy.privacy.fields if name not in known]:
        raise MlopsError(
            f"policy.yaml, privacy.fields: there is no column {unknown[0]}", f"choose from {', '.join(known)}"
        )


def folder(state: Path, environment: str) -> Path:
    """Where the key of an environment is, below the folder for local state."""
    return state / "keys" / environment


def make_key(state: Path, environment: str) -> None:
    """Make the key with which values are hashed in the log of an environment, once."""
    place = folder(state, environment)
    path = place / "log.key"
    if path.is_file():
        return
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
