"""The kinds of data remote: one row each, from which everything else about a kind follows.

A kind whose `question` is empty is not offered by the questionnaire; who writes its address into `.dvc/config` and adds
its extra of DVC gets the same treatment of credentials. The first offered kind is the default.
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway.base import programs


@dataclass(frozen=True)
class Identity:
    """How a job of a workflow is let in as itself, with nothing stored: it shows a token that its forge has signed.

    `role` are the variables that say as whom, without which nobody asks for a token. `audience` is for whom the token
    is, and may hold variables of the role in braces. `file` is the variable by which the kind's client finds it, and
    `settings` are variables of the workflow for what the client has to know, with the values they take from the forge.
    """

    role: tuple[str, ...]
    audience: str
    file: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Remote:
    """A kind of place where versions of data are kept.

    `schemes` are those of its addresses; a folder has none. `extra` is DVC's, `prefixes` begin the names of variables
    that the kind's client reads: DVC gets them. `credentials` are variables of which one is enough to get in, `roles`
    the same for a machine or a job that has an identity of its own; without either, anybody is. `secrets` are the
    variables that a job of the workflows sets, each with the name of the secret that it comes from. `options` are DVC's
    options of a remote that have no variable, with the one that we give them; `fixed` are variables that we set,
    whatever a shell says. `reader` and `writer` say in the provider's words what to allow to who may only read, as a
    pull request would, and what else to training. `creates` is whether who may write to a bucket may still be refused
    to overwrite; where `is_written` is false nothing is sent, and where `is_listed` is, nobody asks what is there.
    """

    kind: str
    schemes: tuple[str, ...] = ()
    question: str = ""
    extra: str = ""
    prefixes: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()
    identity: Identity | None = None
    reader: str = ""
    writer: str = ""
    is_bucket: bool = False
    creates: bool = False
    is_listed: bool = True
    is_written: bool = True

    @property
    def rights(self) -> tuple[str, ...]:
        """What one needs here to send and fetch data. Nothing ever deletes."""
        asked = {"list": self.is_listed, "read": True, "write": self.is_written}
        return tuple(right for right, is_asked in asked.items() if is_asked)

    @property
    def known(self) -> tuple[str, ...]:
        """What can be asked for: in a bucket also the right to delete, which elsewhere comes with that to write."""
        return (*self.rights, *(["delete"] if self.is_bucket else []))


#: How the variables begin that only we read, for what DVC knows from its configuration alone.
(OWN,) = programs.DATA

REMOTES = (
    Remote(
        kind="local",
        question="A folder on this machine or a network drive",
        reader="to read files in the folder",
        writer="to write files in the folder",
    ),
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
        identity=Identity(
            role=("AWS_ROLE_ARN",),
            audience="sts.amazonaws.com",
            file="AWS_WEB_IDENTITY_TOKEN_FILE",
            settings=(
                ("AWS_ROLE_ARN", "vars.DATA_ROLE"),
                ("AWS_DEFAULT_REGION", "vars.DATA_REGION || 'us-east-1'"),
            ),
        ),
        reader="`s3:ListBucket` and `s3:GetObject`",
        writer="`s3:PutObject`, and not `s3:DeleteObject`",
        is_bucket=True,
    ),
    Remote(
        kind="gs",
        schemes=("gs", "gcs"),
        question="A bucket of Google Cloud Storage",
        extra="gs",
        prefixes=("GOOGLE_", "CLOUDSDK_", "GCLOUD_", "GCE_", "STORAGE_EMULATOR_HOST"),
        credentials=("GOOGLE_APPLICATION_CREDENTIALS",),
        roles=("GOOGLE_GHA_CREDS_PATH", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "GOOGLE_IDENTITY_PROVIDER"),
        # Otherwise its client asks what kind of bucket this is by gRPC, which proxies do not pass, and waits.
        fixed=(("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false"),),
        identity=Identity(
            role=("GOOGLE_IDENTITY_PROVIDER",),
            audience="https://iam.googleapis.com/{GOOGLE_IDENTITY_PROVIDER}",
            file="GOOGLE_APPLICATION_CREDENTIALS",
            settings=(
                ("GOOGLE_IDENTITY_PROVIDER", "vars.DATA_IDENTITY_PROVIDER"),
                ("GOOGLE_SERVICE_ACCOUNT", "vars.DATA_ACCOUNT"),
            ),
        ),
        reader="the role `Storage Object Viewer`",
        writer="the role `Storage Object Creator`, which cannot delete",
        is_bucket=True,
        creates=True,
    ),
    Remote(
        kind="azure",
        schemes=("azure",),
        question="A container of Azure Blob Storage",
        extra="azure",
        prefixes=("AZURE_",),
        credentials=("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        roles=("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
        identity=Identity(
            role=("AZURE_CLIENT_ID", "AZURE_TENANT_ID"),
            audience="api://AzureADTokenExchange",
            file="AZURE_FEDERATED_TOKEN_FILE",
            settings=(("AZURE_CLIENT_ID", "vars.DATA_CLIENT"), ("AZURE_TENANT_ID", "vars.DATA_TENANT")),
        ),
        reader="the role `Storage Blob Data Reader`",
        writer="the data actions `…/blobs/read`, `…/blobs/write` and `…/blobs/add/action` in a role of your own; "
        "`Storage Blob Data Contributor` may delete, too",
        is_bucket=True,
        creates=True,
    ),
    Remote(
        kind="ssh",
        schemes=("ssh",),
        question="A folder of another machine, over SSH",
        extra="ssh",
        prefixes=("SSH_AUTH_SOCK",),
        credentials=(f"{OWN}KEY", f"{OWN}PASSWORD"),
        secrets=((f"{OWN}KEY", "DATA_SSH_KEY"),),
        options=(("keyfile", f"{OWN}KEY"), ("password", f"{OWN}PASSWORD")),
        reader="an account that may read files in the folder",
        writer="an account that may write files in the folder",
    ),
    Remote(
        kind="webdav",
        schemes=("webdav", "webdavs"),
        question="A folder of a WebDAV server, such as Nextcloud",
        extra="webdav",
        credentials=(f"{OWN}PASSWORD", f"{OWN}TOKEN"),
        secrets=(
            (f"{OWN}USER", "DATA_USER"),
            (f"{OWN}PASSWORD", "DATA_PASSWORD"),
            (f"{OWN}TOKEN", "DATA_TOKEN"),
        ),
        options=(("user", f"{OWN}USER"), ("password", f"{OWN}PASSWORD"), ("token", f"{OWN}TOKEN")),
        reader="`PROPFIND` and `GET`",
        writer="`PUT`, `MKCOL` and `MOVE`",
    ),
    Remote(
        kind="http",
        schemes=("http", "https"),
        question="A web server that others fill: data is read, and nothing is sent",
        secrets=((f"{OWN}USER", "DATA_USER"), (f"{OWN}PASSWORD", "DATA_PASSWORD")),
        options=(("user", f"{OWN}USER"), ("password", f"{OWN}PASSWORD")),
        reader="`GET` and `HEAD`",
        is_listed=False,
        is_written=False,
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
