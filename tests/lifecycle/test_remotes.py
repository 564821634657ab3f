"""Data in a bucket, and runs and versions on a server: real ones, and what happens when they say no."""

from collections.abc import Callable
from pathlib import Path

from running import RunningProject, free_port, make_bucket, prepare
from servers import Bucket, mlflow_server, s3_store


def delete_all(bucket: Bucket) -> str:
    """A program that tries to delete what is in the bucket, one by one."""
    return f"""
import boto3
store = boto3.resource("s3", endpoint_url="{bucket.endpoint}").Bucket("flights")
for one in store.objects.all():
    try:
        one.delete()
        print("deleted", one.key)
    except Exception as refused:
        print(refused)
"""


def test_a_bucket_holds_the_data_and_its_reader_cannot_write_nor_its_writer_delete(
    render: Callable[..., Path], tmp_path: Path
) -> None:
    with s3_store(tmp_path) as bucket:
        root = render(data_remote="s3", data_remote_url=bucket.url, s3_endpoint=bucket.endpoint)
        project = prepare(root)
        make_bucket(project, bucket.endpoint, "flights", bucket.owner)
        project.mlops("pipeline", env=bucket.writer)
        project.commit("Train the first model")

        refused = project.mlops("register", check=False, env=bucket.reader)
        registered = project.mlops("register", env=bucket.writer)
        audited = project.mlops("audit", "--as", "person", env=bucket.reader)
        deleted = project.run("uv", "run", "--with", "boto3", "python", "-c", delete_all(bucket), env=bucket.writer)

    assert refused.exit_code == 1
    assert "the data remote did not take the data" in refused.stderr
    assert "version 1 registered" in registered.stdout
    assert "ok    the data remote has every object that Git points to" in audited.stdout
    assert f"ok    this person may not write at {bucket.url}, and need not" in audited.stdout
    assert "AccessDenied" in deleted.stdout
    assert "deleted" not in deleted.stdout


def test_a_tracking_server_is_one_setting_and_its_absence_stops_training_but_not_serving(
    trained_project: RunningProject, tmp_path: Path
) -> None:
    port = free_port()
    store = tmp_path / "store"
    store.mkdir()
    with mlflow_server(store, port) as address:
        trained_project.edit("pyproject.toml", "sqlite:///.mlops/mlflow.db", address)
        trained_project.commit("Use a server")
        trained_project.mlops("pipeline")
        assert "version 1 registered" in trained_project.mlops("register").stdout
        trained_project.release("staging")
    row = trained_project.flights(1)[0]

    trained = trained_project.mlops("pipeline", check=False)
    registered = trained_project.mlops("register", check=False)
    served = trained_project.request("POST", "/predict", row)
    deployed = trained_project.mlops("deploy", "staging")

    assert trained.exit_code == registered.exit_code == 1
    assert f"the tracking store {address} does not answer" in trained.stderr
    assert "next: start it" in registered.stderr
    assert served.status == 200
    assert "the alias staging was not moved" in deployed.stderr
