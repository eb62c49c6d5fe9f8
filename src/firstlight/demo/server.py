"""The server of the demo: the page, and the prediction of one input at a time. Nothing is written to disk."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from firstlight.demo.inputs import InputError, describe_limit
from firstlight.demo.page import render_demo_page
from firstlight.page.render import find_content_security_policy
from firstlight.run.errors import describe_error
from firstlight.web.security import make_middleware

PREDICT_PATH = "/predict"
# Requests that wait for the only worker. Each of them holds its input in memory.
MAX_WAITING = 8


class PredictFunction(Protocol):
    """What the server needs of a `Predictor`."""

    modality: str
    max_bytes: int

    def predict(self, content: bytes) -> dict[str, Any]:
        """Return what the page shows about an input."""

    def describe(self) -> dict[str, str]:
        """Return what the page shows about the model."""


class PredictionQueue:
    """One thread that predicts the inputs of all pages, one after another.

    Args:
        predictor: The model.
    """

    def __init__(self, predictor: PredictFunction) -> None:
        self.predictor = predictor
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self.num_waiting = 0

    async def answer(self, request: Request) -> Response:
        """Return the prediction as JSON, or {"error": one sentence} with status 4xx or 5xx."""
        if self.num_waiting >= MAX_WAITING:
            return make_error("Too many inputs are waiting. Try again.", 503)
        self.num_waiting += 1
        try:
            content = await read_body(request, self.predictor)
            loop = asyncio.get_running_loop()
            return JSONResponse(await loop.run_in_executor(self.executor, self.predictor.predict, content))
        except InputError as error:
            return make_error(str(error), error.status)
        except ClientDisconnect:
            return make_error("The page was closed.", 400)
        except Exception as error:  # the model can raise anything, and the server continues
            traceback.print_exc()
            return make_error(f"The prediction failed with {describe_error(error)}", 500)
        finally:
            self.num_waiting -= 1


async def read_body(request: Request, predictor: PredictFunction) -> bytes:
    """Return the body of a request, of which never more than the limit is in memory.

    Raises:
        InputError: If it is larger than the limit, or its length is not stated.
    """
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise InputError("The request does not state its length.", 411)
    if int(length) > predictor.max_bytes:
        raise InputError(describe_limit(predictor.modality), 413)
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > predictor.max_bytes:
            raise InputError(describe_limit(predictor.modality), 413)
    return bytes(content)


def make_error(message: str, status: int) -> Response:
    """Return the answer with an error of one sentence."""
    return JSONResponse({"error": message}, status)


def make_app(predictor: PredictFunction, name: str) -> Starlette:
    """Return the application.

    Args:
        predictor: The model.
        name: Name of the run.
    """
    page = render_demo_page(name, predictor.modality, predictor.max_bytes, predictor.describe())
    queue = PredictionQueue(predictor)

    async def get_page(request: Request) -> Response:
        return HTMLResponse(page)

    async def post_predict(request: Request) -> Response:
        return await queue.answer(request)

    @asynccontextmanager
    async def stop_worker(app: Starlette) -> AsyncIterator[None]:
        yield
        queue.executor.shutdown(wait=False, cancel_futures=True)

    routes = [Route("/", get_page), Route(PREDICT_PATH, post_predict, methods=["POST"])]
    middleware = make_middleware(find_content_security_policy(page), post_paths=(PREDICT_PATH,))
    return Starlette(routes=routes, middleware=middleware, lifespan=stop_worker)
