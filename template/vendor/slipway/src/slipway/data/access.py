"""What lets DVC into the remote: a fresh token in a job that has an identity, options for kinds without variables.

Both are files that live as long as one command of DVC. So a token is never older than the command, however long the
training before it took, and a key lies on no disk when the job has ended.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.base import programs
from slipway.base.errors import MlopsError
from slipway.data import place, remotes
from slipway.data.remotes import Identity, Remote

_TIMEOUT_S = 10

#: The only environment variables that stages may see. What else a shell holds is not there in CI.
DECLARED = (
    "PATH", "HOME", "USER", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "APPDATA", "LOCALAPPDATA",
    "VIRTUAL_ENV", "NO_COLOR", "CI", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
DECLARED_PREFIXES = (
    "LC_", "UV", "SSL_", "DVC_", "MLFLOW_", "GIT_", "XDG_", "OMP_", "OPENBLAS_", *remotes.PREFIXES,
)  # fmt: skip


def declared_environment() -> dict[str, str]:
    """The part of this process's environment that a stage may rely on."""
    own = programs.environment(*programs.CLOUDS, *programs.TRACKING, *programs.GIT_SETTINGS)
    kept = {k: v for k, v in own.items() if k.upper() in DECLARED or k.upper().startswith(DECLARED_PREFIXES)}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"DVC_NO_ANALYTICS": "true"}


def code_of(root: Path) -> dict[str, str]:
    """The variable by which Python takes the code of a checkout where the environment is that of another one.

    What DVC looks at is then what its stages run, too.
    """
    if Path(sys.prefix).is_relative_to(root):
        return {}
    return {"PYTHONPATH": os.pathsep.join(str(root / folder) for folder in ("src", "vendor/slipway/src"))}


@contextmanager
def opened(root: Path) -> Iterator[dict[str, str]]:
    """The environment for a program that uses the default remote; the files that let it in are gone at the end.

    Raises `MlopsError` when the forge gives no token.
    """
    name, url = place.default_remote(root)
    kind = remotes.of(url)
    with tempfile.TemporaryDirectory(prefix="mlops-") as made:
        folder = Path(made)
        let_in = _identity(kind, folder) | _options(kind, name, folder)
        yield declared_environment() | code_of(root) | dict(kind.fixed if kind else ()) | let_in


def has_identity(identity: Identity) -> bool:
    """Whether this job can show a token and says as whom it comes."""
    return all(os.environ.get(one) for one in ("ACTIONS_ID_TOKEN_REQUEST_URL", *identity.role))


def _identity(kind: Remote | None, folder: Path) -> dict[str, str]:
    identity = kind.identity if kind else None
    if identity is None or not has_identity(identity):
        return {}
    token = _write(folder / "token", _token(identity.audience.format_map(os.environ)))
    if identity.file != "GOOGLE_APPLICATION_CREDENTIALS":
        return {identity.file: str(token)}
    return {identity.file: str(_write(folder / "google.json", json.dumps(_of_google(token))))}


def _token(audience: str) -> str:
    """A token for this audience that the forge has signed, as a job asks for it. It is good for some minutes."""
    address = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
    address += ("&" if "?" in address else "?") + urllib.parse.urlencode({"audience": audience})
    bearer = f"Bearer {os.environ.get('ACTIONS_ID_TOKEN_REQUEST_TOKEN', '')}"
    request = urllib.request.Request(address, headers={"Authorization": bearer})  # noqa: S310 - the forge's address
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return str(json.load(answer)["value"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        if isinstance(problem, urllib.error.HTTPError):
            problem.close()
        raise MlopsError(
            f"the job was given no token to show to the data remote: {problem}",
            "let the job have the permission id-token: write, see docs/ci.md",
        ) from None


def _of_google(token: Path) -> dict[str, object]:
    """What Google's libraries read: where the token lies, and where to give it for one of Google's."""
    account = os.environ.get("GOOGLE_SERVICE_ACCOUNT", "")
    person = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    return {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{os.environ['GOOGLE_IDENTITY_PROVIDER']}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(token)},
        **({"service_account_impersonation_url": person} if account else {}),
    }


def _options(kind: Remote | None, name: str, folder: Path) -> dict[str, str]:
    """DVC's settings of a person, with what this kind is given by variables in place of the person's own."""
    given = {option: os.environ[one] for option, one in (kind.options if kind else ()) if os.environ.get(one)}
    if not given:
        return {}
    if "keyfile" in given:
        # A secret of a forge has lost its last end of line, without which a key cannot be read.
        given["keyfile"] = str(_write(folder / "key", given["keyfile"].strip() + "\n"))
    if kind is not None and kind.kind == "http":
        given["auth"] = "basic"
    lines = [f"['remote \"{name}\"']", *(f"    {option} = {_quoted(value)}" for option, value in given.items())]
    _write(folder / "config", "\n".join(lines) + "\n")
    return {"DVC_GLOBAL_CONFIG_DIR": str(folder)}


def _quoted(value: str) -> str:
    """A value as DVC's configuration holds it. It can hold no value with both quotes or with an end of line."""
    mark = "'" if '"' in value else '"'
    if mark in value or "\n" in value:
        raise MlopsError(
            "a credential of the data remote has both quotes or an end of line, which DVC cannot read",
            "choose another password",
        )
    return f"{mark}{value}{mark}"


def _write(path: Path, text: str) -> Path:
    """Write what nobody else may read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
