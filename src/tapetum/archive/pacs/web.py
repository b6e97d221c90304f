"""HTTP to a PACS that may be slow, overloaded, broken or hostile: bounded in bytes, in time and in tries.

Only GET requests are made. Every request has a deadline for the whole answer (a drip of single bytes does not hold the
ingest), a largest size, and a fixed number of tries; 429 and 503 are obeyed (`Retry-After`). Redirects are not
followed: they would carry the credentials to another host.

`dicomweb_client` is not used: it parses each object in this process and hands back what it understood instead of the
bytes, without a limit on their size.
"""

from __future__ import annotations

import base64
import contextlib
import email.message
import email.utils
import http.client
import json
import netrc
import os
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tapetum.core.errors import DataError, UsageError

MAX_OBJECT_BYTES = 2**30
MAX_JSON_BYTES = 64 * 2**20
_CHUNK = 2**20
_BUSY = (429, 502, 503, 504)
_BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Patience:
    """How long is waited.

    Attributes:
        tries: of each request. silence: seconds without a byte. seconds: for a whole answer. pause: seconds before
        the second try, doubled each time. longest: seconds that `Retry-After` may ask for.
    """

    tries: int = 5
    silence: float = 30.0
    seconds: float = 300.0
    pause: float = 0.5
    longest: float = 60.0


PATIENCE = Patience()


class NoAnswerError(DataError):
    """The PACS as a whole does not answer, or is too busy."""


class LostError(DataError):
    """One answer never came whole, however often it was asked for."""


class AbsentError(DataError):
    """The PACS does not have it (404, 410)."""


class Server:
    """One PACS.

    Args:
        url: `http://host:port/dicom-web` or `https://…`; credentials do not belong in it.
        patience: how long is waited.

    Raises:
        UsageError: no such URL, or one with a password in it.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        parts = urllib.parse.urlsplit(url)
        wanted = "http://HOST:PORT/dicom-web or https://HOST/dicom-web"
        try:
            port = parts.port
        except ValueError:
            raise UsageError("the port of the PACS is no number", wanted) from None
        if parts.username or parts.password:
            raise UsageError("the URL of the PACS holds credentials", f"{wanted}; TAPETUM_PACS_USER and …_PASSWORD")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"{url!r} is no URL of a PACS", wanted)
        self.patience = patience
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self.root = parts.path.rstrip("/")
        self.name = f"{parts.hostname}:{port}" if port else parts.hostname
        self._headers = {"Accept-Encoding": "identity", **_authorization(parts.hostname)}
        self._open: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            with contextlib.suppress(OSError):
                self._open.close()
            self._open = None

    def json(self, path: str, query: Sequence[tuple[str, str]] = (), accept: str = "application/json") -> Any:
        """The JSON at a path; `[]` for 204, No Content.

        Raises:
            DataError: no JSON. AbsentError, LostError, NoAnswerError, UsageError: as in `get`.
        """
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        _, body = self.get(target, accept, MAX_JSON_BYTES)
        if not body.strip():
            return []
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise DataError(f"the PACS answers with something other than JSON to {path}", "DICOMweb") from None

    def get(self, target: str, accept: str, most: int) -> tuple[str, bytes]:
        """Content type and body.

        Args:
            target: path and query.
            accept: content types.
            most: bytes.

        Raises:
            AbsentError: 404 or 410. LostError: the answer broke off each time. NoAnswerError: no connection, or busy.
            DataError: another status, or more bytes than `most`. UsageError: credentials are wanted.
        """
        failure: DataError = NoAnswerError(f"the PACS {self.name} was not asked", "")
        for attempt in range(self.patience.tries):
            wait = self.patience.pause * 2**attempt
            try:
                status, headers, body = self._once(target, accept, most)
            except _BROKEN as error:
                failure = self._broken(error)
                self.close()
            else:
                if status in (200, 204, 206):
                    return headers.get("Content-Type", ""), body
                if status not in _BUSY:
                    raise _refused(status, self.name)
                failure = NoAnswerError(f"the PACS {self.name} is busy ({status})", "an answer", "run it again later")
                wait = max(wait, _retry_after(headers.get("Retry-After", "")))
            if attempt + 1 < self.patience.tries:
                time.sleep(min(wait, self.patience.longest))
        raise failure

    def _broken(self, error: Exception) -> DataError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return NoAnswerError(
                f"the certificate of {self.name} is not trusted", "a trusted one", "SSL_CERT_FILE=CA.pem"
            )
        kind = type(error).__name__
        if isinstance(error, ConnectionRefusedError | socket.gaierror) or self._open is None:
            return NoAnswerError(f"no connection to the PACS {self.name} ({kind})", "a PACS that answers", "run again")
        return LostError(f"the answer of the PACS broke off ({kind})", "the whole answer")

    def _once(self, target: str, accept: str, most: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._connection()
        late = threading.Event()
        timer = threading.Timer(self.patience.seconds, _cut, (connection, late))
        timer.daemon = True
        timer.start()
        try:
            connection.request("GET", target, headers={**self._headers, "Accept": accept})
            response = connection.getresponse()
            body = _body(response, most)
        except _BROKEN:
            if late.is_set():
                raise TimeoutError("deadline") from None
            raise
        except DataError:
            self.close()  # the rest of the answer is not wanted
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise TimeoutError("deadline")
        if response.will_close:
            self.close()
        return response.status, response.headers, body

    def _connection(self) -> http.client.HTTPConnection:
        if self._open is None:
            made = (
                http.client.HTTPSConnection(
                    self._host, self._port, timeout=self.patience.silence, context=ssl.create_default_context()
                )
                if self._secure
                else http.client.HTTPConnection(self._host, self._port, timeout=self.patience.silence)
            )
            made.connect()
            self._open = made
        return self._open


def one_part(content_type: str, body: bytes) -> bytes:
    r"""The only part of a `multipart/related` answer, or the whole of an `application/dicom` one.

    Raises:
        DataError: no part, several, or one that is cut short.

    Example:
        >>> one_part("multipart/related; boundary=x", b"--x\r\nA: b\r\n\r\nDATA\r\n--x--")
        b'DATA'
    """
    header = email.message.Message()
    header["Content-Type"] = content_type
    if header.get_content_type() == "application/dicom":
        return body
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
        raise DataError("the answer is neither multipart nor DICOM", "multipart/related; type=application/dicom")
    mark = b"--" + boundary.encode("latin-1", "replace")
    first = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if not body[first:].startswith(mark):
        raise DataError("the answer is 200 and holds no object", "the object that the PACS lists")
    start = body.find(b"\r\n\r\n", first)
    last = body.rfind(b"\r\n" + mark + b"--")
    if body[first + len(mark) :].startswith(b"--") or (start < 0 and last >= 0):
        raise DataError("the answer is 200 and holds no object", "the object that the PACS lists")
    if start < 0 or last < 0:
        raise LostError("the answer of the PACS is cut short", "the whole answer")
    if body.find(b"\r\n" + mark + b"\r\n", start, last) >= 0:
        raise DataError("the answer holds several objects", "the one that was asked for")
    return body[start + 4 : last]


def _body(response: http.client.HTTPResponse, most: int) -> bytes:
    declared = response.length  # None where the answer comes in chunks or ends with the connection
    if declared is not None and declared > most and response.status in (200, 206):
        raise _too_much(declared, most, response)
    chunks, held = list[bytes](), 0
    while chunk := response.read(_CHUNK):
        held += len(chunk)
        if held > most:
            raise _too_much(held, most, response)
        chunks.append(chunk)
    if declared is not None and held < declared:
        raise http.client.IncompleteRead(b"", declared - held)
    return b"".join(chunks)


def _too_much(count: int, most: int, response: http.client.HTTPResponse) -> DataError:
    response.close()
    return DataError(f"an answer of {count:,} bytes or more", f"at most {most:,}")


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _refused(status: int, name: str) -> Exception:
    if status in (401, 403):
        wanted = "TAPETUM_PACS_USER and TAPETUM_PACS_PASSWORD, TAPETUM_PACS_TOKEN, or a line of ~/.netrc"
        return UsageError(f"the PACS {name} asks for credentials ({status})", wanted)
    if status in (404, 410):
        return AbsentError(f"the PACS does not have it ({status})", "the object that it lists")
    if 300 <= status < 400:
        return DataError(f"the PACS sends elsewhere ({status})", "an answer; redirects are not followed")
    return DataError(f"the PACS answers with status {status}", "200")


def _retry_after(value: str) -> float:
    """Seconds that the server asks to wait, 0 where it does not say.

    Example:
        >>> _retry_after("3"), _retry_after("soon")
        (3.0, 0.0)
    """
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _authorization(host: str) -> dict[str, str]:
    """From the environment or a netrc file; never from the command line, and never written down."""
    token = os.environ.get("TAPETUM_PACS_TOKEN", "")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, password = os.environ.get("TAPETUM_PACS_USER", ""), os.environ.get("TAPETUM_PACS_PASSWORD", "")
    if not user:
        try:
            found = netrc.netrc(os.environ.get("NETRC") or None).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            found = None
        user, password = (found[0], found[2] or "") if found else ("", "")
    if not user:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
