"""Answer only the page itself: no other site, no other method, no other host."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# With any port, because ssh forwards the page to another one. With DNS rebinding, the host is the
# name of the other site.
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
READ_METHODS = ("GET", "HEAD")
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
        post_paths: Paths to which the page, and no other site, may send data with POST.
    """

    def __init__(self, app: ASGIApp, policy: str, post_paths: Collection[str] = ()) -> None:
        self.app = app
        self.post_paths = post_paths
        self.headers = {**HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            rejection = find_rejection(scope["method"], Headers(scope=scope), scope["path"] in self.post_paths)
            app = self.app if rejection is None else PlainTextResponse(rejection[1] + "\n", rejection[0])
            await app(scope, receive, self._add_headers(send))

    def _add_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        return send_with_headers


def find_rejection(method: str, headers: Headers, accepts_post: bool = False) -> tuple[int, str] | None:
    """Return the status code and the reason if a request must not be answered, else None.

    Args:
        method: HTTP method.
        headers: Headers of the request.
        accepts_post: Whether the path accepts POST and nothing else.
    """
    if accepts_post and method != "POST":
        return 405, f"{method} is not supported here. Use the page."
    if not accepts_post and method not in READ_METHODS:
        return 405, f"{method} is not supported: the page is read-only."
    if accepts_post and "origin" not in headers:
        return 403, "The request does not come from the page: it has no Origin header."
    if headers.get("sec-fetch-site", "none") not in OWN_SITES:
        return 403, "Another site has requested this page. Copy its address into the address bar."
    # Old browsers send no Sec-Fetch-Site, but they send the origin of a page that could read the answer.
    if headers.get("origin", f"http://{headers.get('host')}") != f"http://{headers.get('host')}":
        return 403, "The page of another origin has requested this page."
    return None


def make_middleware(policy: str, post_paths: Collection[str] = ()) -> list[Middleware]:
    """Return the middleware of the server. See `RequestGuard`."""
    return [
        Middleware(RequestGuard, policy=policy, post_paths=post_paths),
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(GZipMiddleware, minimum_size=10_000, compresslevel=4),
    ]
