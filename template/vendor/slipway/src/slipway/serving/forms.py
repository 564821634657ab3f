"""A row as a form, `multipart/form-data`, with its pictures as files, as browsers, phones and `curl --form` send one.

It becomes the JSON that `POST /predict` takes. So contract, limits, log and a challenger's copy know one kind of body.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from slipway.contract.problems import Problem
from slipway.contract.rows import Contract, Field, FieldKind
from slipway.serving.asgi import read_body, require_plain, too_large
from slipway.serving.protocols.base import Headers

MEDIA_TYPE = b"multipart/form-data"

#: What is written as in JSON. Everything else is a text as it stands.
_WRITTEN = frozenset((FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.FLAG))


# A client's fault is told to the client, and writes no lines into our log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class Forms:
    """Reads forms that hold a row of a contract, a part for each column."""

    def __init__(self, contract: Contract, origins: Sequence[str]) -> None:
        """Pages of `origins` may send forms from a browser, and no others."""
        self._contract = contract
        self._fields = {field.name: field for field in contract.fields}
        self._origins = origins

    def is_sent(self, headers: Headers) -> bool:
        """Whether a request says that its body is a form."""
        return any(name == b"content-type" and is_form(value) for name, value in headers)

    async def read(self, max_bytes: int, scope: Scope, receive: Receive) -> bytes:
        """Read a form to its end and return its row as JSON, which is at most `max_bytes` long, too.

        Raises `Problem` for what is no such form, and as `read_body` does.
        """
        body = await read_body(max_bytes, scope, receive, self._require_welcome)
        row = msgspec.json.encode(self._row(_parts(scope["headers"], body)))
        if len(row) > max_bytes:
            raise too_large(max_bytes)
        return row

    def describe(self) -> dict[str, Any]:
        """Its part of the OpenAPI document."""
        schema = deepcopy(self._contract.json_schema["components"][self._contract.row.__name__])
        schema["required"] = [field.name for field in self._contract.fields if not field.optional]
        for field in self._contract.pictures:
            described = schema["properties"][field.name]["description"]
            schema["properties"][field.name] = {"type": "string", "format": "binary", "description": described}
        encoding = {field.name: {"contentType": "image/png, image/jpeg"} for field in self._contract.pictures}
        content = {MEDIA_TYPE.decode(): {"schema": schema, "encoding": encoding}}
        return {"paths": {"/predict": {"post": {"requestBody": {"content": content}}}}}

    def _require_welcome(self, headers: Headers) -> None:
        require_plain(headers)
        # Browsers let any page send forms to this machine, and ask about JSON first.
        for name, value in headers:
            if name == b"origin" and not {"*", value.decode("latin-1")} & {*self._origins}:
                raise Problem(403, "a page may not send forms here; serving.origins in policy.yaml says whose may")

    def _row(self, parts: list[tuple[str, bytes | str]]) -> dict[str, Any]:
        """A column that may be missing can be left out, and is not known then."""
        row: dict[str, Any] = {}
        for name, part in parts:
            if name in row:
                raise Problem(422, f"the form has {name[:60]} twice")
            row[name] = _value(name, self._fields.get(name), part)
        return {name: None for name, field in self._fields.items() if field.optional} | row


def is_form(content_type: bytes) -> bool:
    """Whether a header Content-Type says so."""
    return content_type[: len(MEDIA_TYPE)].lower() == MEDIA_TYPE


def _parts(headers: Headers, body: bytes) -> list[tuple[str, bytes | str]]:
    """Names and values of a form: bytes of a file, and a text of anything else."""
    # Installed where contracts have pictures.
    from python_multipart import FormParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    parts: list[tuple[str, bytes | str]] = []
    ends: list[bool] = []
    boundary = parse_options_header(dict(headers)[b"content-type"])[1].get(b"boundary")
    # Nothing is written to a disk.
    limits = {"MAX_MEMORY_FILE_SIZE": len(body), "UPLOAD_ERROR_ON_BAD_CTE": True}
    try:
        if not boundary:
            raise Problem(400, "the body is no form: the header Content-Type names no boundary")
        parser = FormParser(
            MEDIA_TYPE.decode(),
            on_field=lambda one: parts.append(((one.field_name or b"").decode(), (one.value or b"").decode())),
            on_file=lambda one: parts.append(((one.field_name or b"").decode(), _content(one))),
            on_end=lambda: ends.append(True),
            boundary=boundary,
            config=limits,
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is no form: {str(error)[:200]}") from None
    if not ends:
        raise Problem(400, "the body is no whole form: the boundary that ends it is missing")
    return parts


def _content(file: Any) -> bytes:
    file.file_object.seek(0)
    content: bytes = file.file_object.read()
    return content


def _value(name: str, field: Field | None, part: bytes | str) -> Any:
    """What JSON would hold for a part."""
    if isinstance(part, bytes):
        if field is None or field.picture is None:
            raise Problem(422, f"{name[:60]} is sent as a file, and no picture")
        return base64.b64encode(part).decode()
    if field is not None and field.kind in _WRITTEN:
        try:
            return msgspec.json.decode(part)
        except (msgspec.DecodeError, RecursionError):
            return part  # the contract says what it should have been
    return part
