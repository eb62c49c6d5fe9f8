"""Tests of the answers of the server, without a network."""

import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: uv pip install -e '.[live]'")
pytest.importorskip("httpx", reason="httpx is not installed: uv pip install httpx")

from starlette.testclient import TestClient

from firstlight.live import server
from firstlight.live.server import Hub, make_app
from firstlight.live.watch import Watcher
from support.runs import HOSTILE, write_run

ADDRESS = "http://127.0.0.1:8420"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    write_run(root / "a", [f"model={HOSTILE}"])
    app, hub = make_app([root])
    hub.watcher.refresh()
    return app, hub


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app[0], base_url=ADDRESS)


def test_page_may_only_run_its_own_scripts_and_connect_to_its_server(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]

    assert response.status_code == 200
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert 'content="firstlight live"' in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost:8420", "localhost:9999", "127.0.0.1", "[::1]:80"])
def test_own_hosts_are_answered_with_any_port(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.", "a@localhost", "", "0.0.0.0"]
)
@pytest.mark.parametrize("path", ["/", "/events", "/runs/x/curves"])
def test_foreign_host_is_rejected(client, host, path):
    assert client.get(path, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin, cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8420"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/runs/x/curves", "/none"])
def test_requests_of_other_sites_are_rejected(client, headers, path):
    response = client.get(path, headers=headers)

    assert response.status_code == 403
    assert "content-security-policy" in response.headers


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": ADDRESS}]
)
def test_requests_of_the_page_itself_are_answered(client, headers):
    assert client.get("/", headers=headers).status_code == 200


def test_page_that_ssh_forwards_to_another_port_is_answered(client):
    headers = {"Host": "localhost:9000", "Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-origin"}

    assert client.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"])
@pytest.mark.parametrize("path", ["/", "/events"])
def test_nothing_can_be_changed(client, method, path):
    assert client.request(method, path).status_code == 405


def test_head_has_no_body(client):
    assert [client.head(path).status_code for path in ("/", "/events")] == [200, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/runs/../../../etc/passwd",
        "/runs/%2e%2e/%2e%2e%2fetc%2fpasswd",
        "/runs/{id}/../../run.json",
        "/runs/{id}/run.json",
        "/runs/{id}/..%2frun.json",
        "/runs/%00/curves",
        "//etc/passwd",
        "/static/live.js",
        "/favicon.ico",
    ],
)
def test_files_are_not_served(app, client, path):
    (run,) = app[1].watcher.runs.values()

    assert client.get(path.format(id=run.id)).status_code == 404


@pytest.mark.parametrize("part", ["curves", "results", "log", "provenance"])
def test_parts_of_a_run_are_json(app, client, part):
    (run,) = app[1].watcher.runs.values()
    response = client.get(f"/runs/{run.id}/{part}")

    assert response.headers["content-type"] == "application/json"
    assert isinstance(response.json(), dict)


def parse_event(text):
    fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
    return fields["id"], json.loads(fields["data"])


async def take(events, count):
    return [await asyncio.wait_for(anext(events), 5) for _ in range(count)]


def make_hub(tmp_path):
    write_run(tmp_path / "a")
    hub = Hub(Watcher([tmp_path]))
    hub.watcher.refresh()
    return hub


def test_reconnected_page_gets_only_what_it_missed(tmp_path):
    async def connect(last_id):
        return await take(hub.iter_events(last_id), 2)

    hub = make_hub(tmp_path)
    retry, first = asyncio.run(connect(""))
    last_id, changes = parse_event(first)
    write_run(tmp_path / "b")
    hub.watcher._next_search = 0.0
    hub.watcher.refresh()
    _, second = asyncio.run(connect(last_id))
    _, restarted = asyncio.run(connect("another-1"))

    assert retry == "retry: 1000\n\n"
    assert [run["name"] for run in changes["runs"]] == ["a"]
    assert [run["name"] for run in parse_event(second)[1]["runs"]] == ["b"]
    assert len(parse_event(restarted)[1]["runs"]) == 2


@pytest.mark.parametrize(
    "last_id", ["-", "x-", "\N{SUPERSCRIPT TWO}", "9" * 5000, "{token}-", "{token}--1", "{token}-²"]
)
def test_invalid_event_id_gets_everything(tmp_path, last_id):
    hub = make_hub(tmp_path)

    async def connect():
        return await take(hub.iter_events(last_id.format(token=hub.token)), 2)

    assert len(parse_event(asyncio.run(connect())[1])[1]["runs"]) == 1


def test_stream_waits_for_the_next_change(tmp_path):
    async def check():
        events = hub.iter_events("")
        await take(events, 2)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        write_run(tmp_path / "b")
        hub.watcher._next_search = 0.0
        hub.watcher.refresh()
        hub.notify()
        return parse_event(await asyncio.wait_for(waiting, 5))

    hub = make_hub(tmp_path)
    _, changes = asyncio.run(check())

    assert [run["name"] for run in changes["runs"]] == ["b"]


def test_oldest_stream_ends_if_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MAX_STREAMS", 3)

    async def check():
        streams = [hub.iter_events("") for _ in range(5)]
        for events in streams:
            await take(events, 1)
        ended = []
        for events in streams:
            received = [event async for event in events] if events in streams[:2] else await take(events, 1)
            ended.append(len(received))
        return len(hub.streams), ended

    hub = make_hub(tmp_path)

    assert asyncio.run(check()) == (3, [0, 0, 1, 1, 1])


def test_nothing_is_read_without_a_page(tmp_path):
    app, hub = make_app([tmp_path])
    with TestClient(app, base_url=ADDRESS) as client:
        assert client.get("/").status_code == 200
    assert hub.watcher.state.version == 0
    assert hub.is_closed
