"""Open one HTTP answer: the position of its bytes, their number, and the version of the file.

Stage: *URL -> answer* -> download. Standard library only. Not here: the bytes (`download.py`).
"""

import re
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request

_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_NUMBER = re.compile("[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Validator:
    """What a host states about one version of a file."""

    size_bytes: int | None
    """None: the host states none."""
    sha256: str | None
    """The ETag, if it is a SHA-256; Hugging Face sends it with its first redirect."""
    if_range: str | None
    """A strong ETag or a date, by which a later request can resume; None: it cannot."""

    def is_same_file(self, other: "Validator") -> bool:
        """Compare versions by everything that both answers state."""
        return all(
            mine is None or theirs is None or mine == theirs
            for mine, theirs in ((self.size_bytes, other.size_bytes), (self.sha256, other.sha256))
        )


class HttpAnswer(AbstractContextManager["HttpAnswer"]):
    """An open answer.

    Attributes:
        starts_at: position of its first byte in the whole file.
        states_its_end: whether a connection cut before the end is detected.
        validator: what it states about the file.
    """

    def __init__(self, response: HTTPResponse, *, linked_etag: str | None) -> None:
        self._response = response
        headers = response.headers
        self.starts_at, size = _extent(response)
        self.states_its_end = size is not None or response.chunked
        etag = headers.get("ETag")
        self.validator = Validator(
            size_bytes=size,
            sha256=_as_sha256(linked_etag) or _as_sha256(etag),
            if_range=etag if etag and not etag.startswith("W/") else headers.get("Last-Modified"),
        )

    def read(self, num_bytes: int) -> bytes:
        """Return up to `num_bytes`; empty at the end."""
        return self._response.read(num_bytes)

    def __exit__(self, *exception: object) -> None:
        self._response.close()


def open_url(request: Request, *, timeout_seconds: float) -> HttpAnswer:
    """Send a GET request, follow redirects, and return the answer with its body unread.

    Raises:
        urllib.error.URLError: no connection, or (HTTPError) an error status.
        ValueError: the address or a redirect is not http(s), or leads from https to http; or the
            body is compressed for transport.
    """
    if request.type not in ("http", "https"):
        raise ValueError(f"cannot download {request.full_url}: need an http or https address")
    redirects = _Redirects()
    response = urllib.request.build_opener(redirects).open(request, timeout=timeout_seconds)
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        response.close()
        raise ValueError(
            f"{request.full_url} comes with Content-Encoding {encoding}, which was not requested; "
            "use another --corpus.mirror"
        )
    return HttpAnswer(response, linked_etag=redirects.linked_etag)


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, and keep the hash that Hugging Face states in one of them."""

    linked_etag: str | None = None

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise ValueError(
                f"{req.full_url} redirects to {newurl}, but from there only "
                f"{' or '.join(allowed)} is followed; use another --corpus.mirror"
            )
        self.linked_etag = self.linked_etag or headers.get("X-Linked-Etag")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte's position and the size of the whole file."""
    length = response.headers.get("Content-Length")
    if length is not None and not _NUMBER.fullmatch(length):
        raise ConnectionError(f"Content-Length is {length!r}")
    if response.status != 206:
        return 0, None if length is None else int(length)
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        raise ConnectionError("partial answer without a Content-Range")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _as_sha256(etag: str | None) -> str | None:
    match = _SHA256.fullmatch(etag or "")
    return match[1] if match else None
