"""The rating page, served to one person's browser.

What guards it: it listens on this machine alone unless told otherwise, its address has a token that nobody guesses, a
request has to name one of its own hosts (so that no other page's name can be bound to it), and a change has to come
from its own page. It has no TLS: on another address than the machine's own, who sees the traffic sees the token.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bbjspec.errors import BbjspecError, EnvironmentLacks, UsageError, one_line
from bbjspec.rating.page import page
from bbjspec.rating.ratings import LONGEST_MS, LONGEST_NOTE, Vote
from bbjspec.rating.session import Session
from bbjspec.signals import heeded

LARGEST = 16 * 1024  # bytes of a body
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Cast(BaseModel):
    """A vote as the page sends it; None takes it back. `ms` is the time that the pair was on screen."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: Annotated[int, Field(ge=1)]
    vote: Vote | None
    note: Annotated[str, Field(max_length=LONGEST_NOTE)]
    ms: Annotated[int, Field(ge=0, le=LONGEST_MS)]


class _Guard:
    """Lets through what comes to one of `hosts`, with the token, and changes only from the page itself."""

    def __init__(self, app: ASGIApp, hosts: set[str], token: str, policy: str) -> None:
        self.app = app
        self.hosts = hosts
        self.token = token.encode()
        self.headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        refused = self._refused(scope)
        try:
            await (self.app if refused is None else refused)(scope, receive, with_headers)
        except (ClientDisconnect, asyncio.CancelledError):  # who asked has gone, or we are asked to end
            return
        except Exception:  # a fault of ours: told here, with the headers, and by its traceback in the terminal
            traceback.print_exc()
            if not begun:
                told = {"error": "A fault of bbjspec itself: its traceback is in the terminal."}
                await JSONResponse(told, 500)(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return PlainTextResponse("not here: through a tunnel, the port must be the same at both ends", 421)
        given = scope["path"].lstrip("/").partition("/")[0].encode("utf-8", "replace")
        if not secrets.compare_digest(given, self.token):
            return PlainTextResponse("not found", 404)
        if scope["method"] == "POST":
            if headers.get("origin", "").lower() != f"http://{host}":
                return JSONResponse({"error": "This did not come from the rating page."}, 403)
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return JSONResponse({"error": "Only application/json is read."}, 415)
        return None


def app(session: Session, hosts: set[str], token: str, on_finish: Callable[[], None]) -> Starlette:
    """The page and its three requests below `/TOKEN/`; `on_finish` is called once the result has been sent.

    `hosts` are the names, with the port, by which a browser may call it. What `session` does with files is done in
    threads, one at a time: an fsync may take long on a slow disk, the page has to be answered meanwhile, and two votes
    must not be written into each other.
    """
    text, policy = page(session, offline=False)
    total = len(session.showings)
    turn = threading.Lock()

    def in_turn(work: Callable[[], Any]) -> Any:
        with turn:
            return work()

    async def show(_: Request) -> Response:
        return HTMLResponse(text)

    async def state(_: Request) -> Response:
        def votes() -> dict[str, dict[str, str]]:
            return {str(number): {"vote": one.vote, "note": one.note} for number, one in session.votes().items()}

        with _told("The votes cannot be read"):
            return JSONResponse({"votes": await run_in_threadpool(in_turn, votes)})

    async def vote(request: Request) -> Response:
        try:
            cast = Cast.model_validate_json(await _body(request))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            raise HTTPException(400, f"{place}: {first['msg']}") from error
        if cast.number > total:
            raise HTTPException(400, f"number: there are {total} pairs")
        with _told("The vote cannot be written"):
            await run_in_threadpool(in_turn, lambda: session.record(cast.number, cast.vote, cast.note, cast.ms))
        return JSONResponse({"saved": cast.number})

    async def finish(request: Request) -> Response:
        await _body(request)

        def result() -> list[dict[str, Any]]:
            votes = session.votes()
            left = [one.number for one in session.showings if one.number not in votes]
            if left:
                raise HTTPException(409, f"{len(left)} of {total} are not rated yet, the first is {left[0]}.")
            said = zip(session.showings, session.verdicts(), strict=True)
            return [
                {
                    "number": one.number,
                    "category": one.category,
                    "vote": votes[one.number].vote,
                    "left": on_left,
                    "right": on_right,
                }
                for one, (on_left, on_right) in said
            ]

        with _told("The result cannot be made"):
            rows = await run_in_threadpool(in_turn, result)
        return JSONResponse({"rows": rows, "judge": session.judge}, background=BackgroundTask(on_finish))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code in (404, 405):  # what there is, and how it is called, is not told
            return PlainTextResponse("not found", 404)
        return JSONResponse({"error": one_line(error.detail)}, error.status_code)

    made = Starlette(
        routes=[
            Route("/{token}/", show),
            Route("/{token}/state", state),
            Route("/{token}/votes", vote, methods=["POST"]),
            Route("/{token}/finish", finish, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refused},
        middleware=[Middleware(_Guard, hosts=hosts, token=token, policy=policy)],
    )
    made.router.redirect_slashes = False
    return made


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of the session as answers, in one line. A path would tell the page what it is not to know."""
    try:
        yield
    except BbjspecError as error:
        raise HTTPException(500, str(error)) from error
    except OSError as error:
        status = 507 if error.errno in _FULL else 500
        raise HTTPException(status, f"{what}: {error.strerror or type(error).__name__}") from error


async def _body(request: Request) -> bytes:
    """The body. Raises HTTPException as soon as it is too large, whatever length it claims."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413, f"more than {LARGEST // 1024} kB")
    return body


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens and leaves signals to `heeded`."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self.listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Answer what is being asked, then end."""
        self.should_exit = True


def serve(session: Session, host: str = "127.0.0.1", port: int = 0, *, tell: Callable[[str], None]) -> None:
    """Serve the page until it is finished, or until Ctrl-C or SIGTERM. `tell` gets its address once it listens.

    `port` 0 is any that is free. Raises UsageError for a host that is every address, EnvironmentLacks where it cannot
    listen.
    """
    listener = _listener(host, port)
    with listener:
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        names = {shown.lower(), *(("127.0.0.1", "localhost") if _is_loopback(host) else ())}
        hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
        token = secrets.token_urlsafe(24)
        application = app(session, hosts, token, lambda: server.stop())
        config = uvicorn.Config(
            application,
            log_config=None,
            log_level="critical",  # what a client broke off is nobody's fault
            access_log=False,
            server_header=False,
            http="h11",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        server = _Server(config, lambda: tell(f"http://{shown}:{port}/{token}/"))
        with heeded(server.stop):
            server.run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises as `serve` does."""
    if host in ("", "0.0.0.0", "::"):
        raise UsageError(
            f"--host {host!r} is every address: name the one that the raters' browsers call, such as 127.0.0.1"
        )
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise EnvironmentLacks(f"no address is known by the name {host!r}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise EnvironmentLacks(f"port {port} is taken: end what listens there, or leave --port out") from error
        raise EnvironmentLacks(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener
