"""Tests of the answers of the demo, with a stub in place of the model and without a network."""

import asyncio
import threading

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: uv pip install -e '.[live]'")
pytest.importorskip("httpx", reason="httpx is not installed: uv pip install httpx")

import httpx
from starlette.testclient import TestClient

from firstlight.demo import server
from firstlight.demo.inputs import InputError
from firstlight.demo.server import MAX_WAITING, make_app
from support.runs import HOSTILE

ADDRESS = "http://127.0.0.1:8430"
ORIGIN = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}


class StubPredictor:
    """Returns the length of an input. Two predictions at a time are an error."""

    modality = "text"
    max_bytes = 1000

    def __init__(self):
        self.lock = threading.Lock()
        self.wait = threading.Event()
        self.wait.set()
        self.threads = set()

    def predict(self, content):
        if not self.lock.acquire(blocking=False):
            raise RuntimeError("two predictions at a time")
        try:
            self.threads.add(threading.current_thread().name)
            self.wait.wait(10)
            if content == b"unreadable":
                raise InputError("The text is unreadable.")
            if content == b"broken":
                raise ValueError("it broke\nin a second line")
            return {"kind": "values", "rows": [{"name": "length", "value": str(len(content))}]}
        finally:
            self.lock.release()

    def describe(self):
        return {"model": HOSTILE}


@pytest.fixture
def predictor():
    return StubPredictor()


@pytest.fixture
def client(predictor):
    return TestClient(make_app(predictor, HOSTILE), base_url=ADDRESS)


def test_page_runs_only_its_own_script_and_shows_names_as_text(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]

    assert response.status_code == 200
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "connect-src 'self'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert HOSTILE not in response.text
    assert response.headers["cache-control"] == "no-store"


def test_input_is_predicted(client):
    answer = client.post("/predict", content=b"abc", headers=ORIGIN)

    assert answer.status_code == 200
    assert answer.json()["rows"] == [{"name": "length", "value": "3"}]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": ADDRESS, "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_sites_cannot_predict(client, predictor, headers):
    assert client.post("/predict", content=b"abc", headers=headers).status_code == 403
    assert predictor.threads == set()


def test_foreign_host_is_rejected(client):
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}

    assert client.post("/predict", content=b"abc", headers=headers).status_code == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_predictions_accept_post_only(client, method):
    assert client.request(method, "/predict", headers=ORIGIN).status_code == 405


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_page_accepts_get_only(client, method):
    assert client.request(method, "/", headers=ORIGIN).status_code == 405


@pytest.mark.parametrize("path", ["/../etc/passwd", "/predict/x", "/demo.js", "//etc/passwd"])
def test_files_are_not_served(client, path):
    assert client.get(path).status_code == 404


def test_large_input_is_rejected_before_it_is_read(client, predictor):
    answer = client.post("/predict", content=b"x" * 1001, headers=ORIGIN)

    assert (answer.status_code, answer.json()) == (413, {"error": "The text is larger than 100 kB."})
    assert predictor.threads == set()


def test_input_without_a_length_is_rejected(client):
    answer = client.post("/predict", content=iter([b"abc"]), headers=ORIGIN)

    assert (answer.status_code, answer.json()["error"]) == (411, "The request does not state its length.")


def test_stated_length_does_not_let_more_bytes_through(predictor):
    sent = iter([{"type": "http.request", "body": b"x" * 600, "more_body": True}] * 9)

    async def receive():
        return next(sent)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"5")]}
    with pytest.raises(InputError, match="larger than"):
        asyncio.run(server.read_body(server.Request(scope, receive), predictor))


def test_unreadable_input_and_failing_model_are_one_sentence_and_the_server_continues(client, capsys):
    unreadable = client.post("/predict", content=b"unreadable", headers=ORIGIN)
    broken = client.post("/predict", content=b"broken", headers=ORIGIN)

    assert (unreadable.status_code, unreadable.json()) == (400, {"error": "The text is unreadable."})
    message = "The prediction failed with ValueError: it broke"
    assert (broken.status_code, broken.json()) == (500, {"error": message})
    assert "Traceback" in capsys.readouterr().err
    assert client.post("/predict", content=b"abc", headers=ORIGIN).status_code == 200


def test_simultaneous_inputs_are_predicted_one_after_another(predictor):
    predictor.wait.clear()

    async def send_all():
        transport = httpx.ASGITransport(make_app(predictor, "run"))
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, headers=ORIGIN) as client:
            requests = [asyncio.create_task(client.post("/predict", content=b"x" * n)) for n in range(MAX_WAITING)]
            while len(predictor.threads) == 0:
                await asyncio.sleep(0.01)
            rejected = await client.post("/predict", content=b"abc")
            predictor.wait.set()
            return rejected, await asyncio.gather(*requests)

    rejected, answers = asyncio.run(send_all())
    assert rejected.status_code == 503
    assert [answer.json()["rows"][0]["value"] for answer in answers] == [str(n) for n in range(MAX_WAITING)]
    assert len(predictor.threads) == 1
