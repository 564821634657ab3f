"""HTTPS, a certificate that is renewed, and proxies whose word counts."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from certificates import certified
from slipway.base import http as client
from slipway.base.errors import MlopsError
from slipway.serving import worker
from slipway.serving.app import create_app
from slipway.serving.context import Served, ServingContext
from slipway.serving.link import Link
from slipway.serving.tls import Certificate
from slipway.serving.worker import Worker
from slipway.settings.access import Tls
from slipway.settings.policy import ServingPolicy
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer


def certify(folder: Path) -> Tls:
    """Write a new certificate and its key."""
    certificate, key = certified(folder)
    return Tls(certificate=str(certificate), key=str(key))


@contextmanager
def serving(
    bundle: Bundle, *, tls: Tls | None = None, proxies: tuple[str, ...] = (), fast: bool = True
) -> Iterator[int]:
    """A server in a thread of this process; yields its port."""
    policy = ServingPolicy(max_body_kb=64, max_rows=8, requests_per_second=1, return_score=False)
    app = create_app(ServingContext(Scorer(bundle), Served("test", 7, bundle.digest, "0" * 40, "registry"), policy))
    certificate = Certificate(tls) if tls else None
    with worker.listen("127.0.0.1", 0) as listener:
        served = Worker(
            app, listener, Link(None), wants_fast_path=fast, certificate=certificate, proxies=proxies
        )  # fmt: skip
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not served.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            served.should_exit = True
            thread.join()


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "plain ASGI"])
def test_a_certificate_that_is_renewed_is_shown_by_the_running_server(
    sealed: Bundle, tmp_path: Path, fast: bool
) -> None:
    files = certify(tmp_path)
    old = tmp_path / "old.pem"
    old.write_bytes(Path(files.certificate).read_bytes())
    row = msgspec.json.encode(sealed.golden.rows[0])
    with serving(sealed, tls=files, fast=fast) as port:
        answered = client.ask("127.0.0.1", port, "/predict", body=row, certificate=old)
        with pytest.raises(OSError, match=r"answer|reset|closed"):
            client.ask("127.0.0.1", port, "/ready")  # not in the clear

        (tmp_path / "other").mkdir()
        Path(certify(tmp_path / "other").certificate).rename(files.certificate)  # its key is late
        time.sleep(1.5)
        assert client.ask("127.0.0.1", port, "/ready", certificate=old).status == 200  # the one before stays
        certify(tmp_path)
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ask("127.0.0.1", port, "/ready", certificate=Path(files.certificate))
                break
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with pytest.raises(ConnectionError, match="does not show the certificate"):
            client.ask("127.0.0.1", port, "/ready", certificate=old)

    assert answered.status == 200


def test_files_that_are_no_certificate_are_refused(tmp_path: Path) -> None:
    files = certify(tmp_path)
    Path(files.key).write_text("no key", encoding="ascii")

    with pytest.raises(MlopsError, match="are no certificate with its key"):
        Certificate(files)


@pytest.mark.parametrize(
    ("proxies", "statuses"),
    [(("127.0.0.0/8",), [200, 200, 429]), (("10.0.0.1",), [200, 429, 429])],
    ids=["believed", "not believed"],
)
def test_only_a_named_proxy_says_for_whom_it_asks(
    sealed: Bundle, proxies: tuple[str, ...], statuses: list[int]
) -> None:
    """One request a second is the limit of each address; what a client writes itself comes first in the header."""
    said = []
    with serving(sealed, proxies=proxies) as port:
        for address in ("192.0.2.1", "192.0.2.2", "198.51.100.9, 192.0.2.2"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                headers = {"content-type": "application/json", "x-forwarded-for": address}
                connection.request("POST", "/predict", json.dumps(sealed.golden.rows[0]), headers)
                said.append(connection.getresponse().status)

    assert said == statuses
