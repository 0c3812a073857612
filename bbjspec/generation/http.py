"""One JSON request to a server: with a deadline, without redirects, and an error that says whether to try again."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_REPLY = 16_000_000  # bytes; an answer is a page of text
CHUNK = 65_536
RETRIED = frozenset({408, 429, 500, 502, 503, 504, 529})


class Failed(Exception):
    """No usable reply. `status` is the HTTP status, None when there was none; `again` whether another try may help."""

    def __init__(self, message: str, *, status: int | None = None, again: bool = True, after: float | None = None):
        super().__init__(message)
        self.status = status
        self.again = again
        self.after = after  # seconds that the server asks to wait


def request_json(url: str, body: Any, headers: Mapping[str, str], timeout: float) -> Any:
    """POST `body` (GET where it is None) and return the reply's JSON. `timeout` is for the whole of it, in seconds.

    Raises Failed. A redirect is refused: the key in the headers is for the address that the spec names.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", **headers} | ({"Content-Type": "application/json"} if data else {})
        connection.request("GET" if data is None else "POST", parts.path or "/", body=data, headers=sent)
        response = connection.getresponse()
        content = _read(connection, response, deadline)
    except TimeoutError as error:
        raise Failed(f"no reply within {timeout:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise Failed(f"its certificate is not trusted ({error.verify_message})", again=False) from error
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"no connection ({error or type(error).__name__})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Failed(
            f"HTTP {response.status}{_said(content)}",
            status=response.status,
            again=response.status in RETRIED,
            after=_seconds(response.headers.get("Retry-After")),
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Failed(f"the reply is not JSON ({content[:40]!r}…)", status=200) from error


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole reply. A server that sends a byte a minute is not waited for."""
    content = b""
    while chunk := _chunk(connection, response, deadline):
        content += chunk
        if len(content) > MAX_REPLY:
            raise Failed(f"the reply is longer than {MAX_REPLY:,} bytes", again=False)
    if response.length:
        raise Failed("the connection broke off in the middle of the reply")
    return content


def _chunk(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    if connection.sock is not None:
        connection.sock.settimeout(left)
    return response.read1(CHUNK)


def _seconds(text: str | None) -> float | None:
    """What Retry-After says, where it says seconds."""
    return float(text) if text and text.isascii() and text.isdigit() else None


def _said(content: bytes) -> str:
    """What a server says in an error, in one line: OpenAI's form, or the beginning of whatever it sent."""
    try:
        value = json.loads(content)
        error = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
        text = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        text = content.decode("utf-8", "replace")
    words = " ".join(str(text).split())
    return f": {words[:200]}" if words else ""
