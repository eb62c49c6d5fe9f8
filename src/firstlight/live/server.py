"""The server of the live page: the page, a stream of changes, and the details of each run. It only reads."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from firstlight.live.watch import INTERVAL_S, Watcher
from firstlight.page.render import find_content_security_policy, render_page
from firstlight.run.errors import describe_error
from firstlight.web.security import make_middleware

# Each open page has one stream. With more, the oldest is closed, and its page connects again.
MAX_STREAMS = 100
# A comment is sent after this many seconds without a change, so that connections through a tunnel stay open.
HEARTBEAT_S = 15.0


class Hub:
    """The streams of all open pages, and the thread that reads the files for them. Without a page, nothing is read.

    Args:
        watcher: The watcher.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.streams: list[asyncio.Event] = []
        self.is_closed = False
        self.has_stream = threading.Event()
        self.wake = threading.Event()
        # In the ID of each event: after a restart of the server, a page gets everything again.
        self.token = secrets.token_hex(4)

    @contextmanager
    def open_stream(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change."""
        event = asyncio.Event()
        self.streams.append(event)
        for oldest in self.streams[:-MAX_STREAMS]:
            self.close_stream(oldest)
        self.has_stream.set()
        try:
            yield event
        finally:
            self.close_stream(event)

    def close_stream(self, event: asyncio.Event) -> None:
        """Forget a stream, which then ends."""
        if event in self.streams:
            self.streams.remove(event)
            event.set()
        if not self.streams:
            self.has_stream.clear()

    def notify(self) -> None:
        """Wake all streams."""
        for event in self.streams:
            event.set()

    def close(self) -> None:
        """End all streams, and the thread."""
        self.is_closed = True
        self.notify()
        self.has_stream.set()
        self.wake.set()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the files until `close`."""
        while not self.is_closed:
            self.has_stream.wait()
            try:
                if not self.is_closed and self.watcher.refresh():
                    loop.call_soon_threadsafe(self.notify)
            except Exception as error:
                if self.is_closed:  # with its event loop
                    return
                print(f"Warning: the runs cannot be read ({describe_error(error)}). Trying again.", flush=True)
            self.wake.wait(INTERVAL_S)

    async def iter_events(self, last_id: str) -> AsyncIterator[str]:
        """Yield the events of one page: all changes after an event, then each change.

        Args:
            last_id: ID of the last event that the page has received; "" if there is none.
        """
        token, _, number = last_id.partition("-")
        since = int(number) if token == self.token and number.isdecimal() and len(number) < 20 else 0
        with self.open_stream() as event:
            yield "retry: 1000\n\n"
            while not self.is_closed and event in self.streams:
                event.clear()
                state = self.watcher.state
                if state.version != since:
                    yield f"id: {self.token}-{state.version}\ndata: {state.get_changes(since)}\n\n"
                    since = state.version
                try:
                    await asyncio.wait_for(event.wait(), HEARTBEAT_S)
                except TimeoutError:
                    yield ": nothing has changed\n\n"


def render_live_page(roots: list[Path]) -> str:
    """Return the page as HTML, without data."""
    script = files("firstlight.live").joinpath("live.js").read_text(encoding="utf-8").replace("\r\n", "\n")
    # The name of a directory may not be valid UTF-8.
    title = f"Runs in {', '.join(map(str, roots))}".encode("utf-8", "replace").decode()
    return render_page(title, "firstlight live", script, connect="'self'")


def make_app(roots: list[Path]) -> tuple[Starlette, Hub]:
    """Return the application, and the hub that ends its streams.

    Args:
        roots: The directories to search for runs.
    """
    hub = Hub(Watcher(roots))
    page = render_live_page(roots)

    async def get_page(request: Request) -> Response:
        return HTMLResponse(page)

    async def get_events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        last_id = request.headers.get("last-event-id") or request.query_params.get("last_id", "")
        return StreamingResponse(hub.iter_events(last_id), media_type="text/event-stream")

    async def get_part(request: Request) -> Response:
        content = await run_in_threadpool(hub.watcher.get_part, **request.path_params)
        if content is None:
            return PlainTextResponse("There is no such run.\n", 404)
        return Response(content, media_type="application/json")

    @asynccontextmanager
    async def run_thread(app: Starlette) -> AsyncIterator[None]:
        thread = threading.Thread(target=hub.watch, args=(asyncio.get_running_loop(),), daemon=True)
        thread.start()
        yield
        hub.close()

    routes = [
        Route("/", get_page),
        Route("/events", get_events),
        Route("/runs/{run_id}/{part}", get_part),
    ]
    middleware = make_middleware(find_content_security_policy(page))
    return Starlette(routes=routes, middleware=middleware, lifespan=run_thread), hub
