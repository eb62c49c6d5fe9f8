"""Answer only the page itself: no other site, no other method, no other host."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# With any port, because ssh forwards the page to another one. With DNS rebinding, the host is the
# name of the other site.
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
METHODS = ("GET", "HEAD")
# Values of Sec-Fetch-Site for requests by the page itself, and by the address bar.
OWN_SITES = ("same-origin", "none")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestGuard:
    """Reject requests of other sites and methods that change something, and add headers to each answer.

    Args:
        app: The application.
        policy: The Content-Security-Policy of the page.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.headers = {**HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            rejection = find_rejection(scope["method"], Headers(scope=scope))
            app = self.app if rejection is None else PlainTextResponse(rejection[1] + "\n", rejection[0])
            await app(scope, receive, self._add_headers(send))

    def _add_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        return send_with_headers


def find_rejection(method: str, headers: Headers) -> tuple[int, str] | None:
    """Return the status code and the reason if a request must not be answered, else None."""
    if method not in METHODS:
        return 405, f"{method} is not supported: the page is read-only."
    if headers.get("sec-fetch-site", "none") not in OWN_SITES:
        return 403, "Another site has requested this page. Copy its address into the address bar."
    # Old browsers send no Sec-Fetch-Site, but they send the origin of a page that could read the answer.
    if headers.get("origin", f"http://{headers.get('host')}") != f"http://{headers.get('host')}":
        return 403, "The page of another origin has requested this page."
    return None


def make_middleware(policy: str) -> list[Middleware]:
    """Return the middleware of the server."""
    return [
        Middleware(RequestGuard, policy=policy),
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(GZipMiddleware, minimum_size=10_000, compresslevel=4),
    ]
