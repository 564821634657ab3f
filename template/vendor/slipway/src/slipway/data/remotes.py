"""The kinds of data remote: one row each, from which everything else about a kind follows.

A kind whose `question` is empty is not offered by the questionnaire; who writes its address into `.dvc/config` and adds
its extra of DVC gets the same treatment of credentials. The first offered kind is the default.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remote:
    """A kind of place where versions of data are kept.

    `schemes` are those of its addresses; a folder has none. `extra` is DVC's, `prefixes` begin the names of variables
    that the kind's client reads: DVC gets them, a server never does. `credentials` are variables of which one is
    enough to be let in, `roles` the same for a machine or a job that has an identity of its own. `secrets` are the
    variables that a job of the workflows sets, each with the name of the secret that it comes from.
    """

    kind: str
    schemes: tuple[str, ...] = ()
    question: str = ""
    extra: str = ""
    prefixes: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()


REMOTES = (
    Remote(kind="local", question="A folder on this machine or a network drive"),
    Remote(
        kind="s3",
        schemes=("s3",),
        question="A bucket: Amazon S3 or a store that speaks its language",
        extra="s3",
        prefixes=("AWS_",),
        credentials=("AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        roles=("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        secrets=(
            ("AWS_ACCESS_KEY_ID", "DATA_ACCESS_KEY_ID"),
            ("AWS_SECRET_ACCESS_KEY", "DATA_SECRET_ACCESS_KEY"),
        ),
    ),
    Remote(
        kind="gs",
        schemes=("gs", "gcs"),
        extra="gs",
        prefixes=("GOOGLE_", "CLOUDSDK_", "GCLOUD_", "GCE_"),
        credentials=("GOOGLE_APPLICATION_CREDENTIALS",),
        roles=("GOOGLE_GHA_CREDS_PATH", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"),
    ),
    Remote(
        kind="azure",
        schemes=("azure",),
        extra="azure",
        prefixes=("AZURE_",),
        credentials=("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        roles=("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
    ),
)

#: Every prefix of the table, whichever kind a project uses: another tool may use the others beside it.
PREFIXES = tuple(prefix for remote in REMOTES for prefix in remote.prefixes)


def of(url: str) -> Remote | None:
    """The kind of remote that an address belongs to; `None` for one that the table does not know.

    >>> of("s3://bucket/dvc").kind, of("../data").kind, of("D:/data").kind, of("hdfs://host/data")
    ('s3', 'local', 'local', None)
    """
    scheme, separator, _ = url.partition("://")
    wanted = scheme.lower() if separator else None
    return next((one for one in REMOTES if (wanted in one.schemes if wanted else not one.schemes)), None)
