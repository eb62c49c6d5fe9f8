"""Serve W&B's protocol:  .openwandb/bin/python tests/firstlight/support/openwandb_serve.py PORT FOLDER

openwandb takes all that W&B's client sends, but forgets what a resumed run asks for, and keeps neither groups nor
exit codes nor best values. This adds them: lines of history have numbers and replace those that were there, as at W&B.
"""

import json
import os
import sys
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
# Read when openwandb is imported.
os.environ.update(OPENWANDB_DATA_DIR=str(FOLDER), OPENWANDB_HOST="127.0.0.1", OPENWANDB_PORT=str(PORT))

import uvicorn  # noqa: E402
from openwandb import database, file_stream, graphql_schema, server, storage  # noqa: E402

take = file_stream.process_file_stream
describe = graphql_schema._run_to_type


def history(entity, project, run):
    """Return the file of a run's history and its lines."""
    file = storage.get_run_files_dir(entity, project, run) / "wandb-history.jsonl"
    return file, file.read_text().splitlines() if file.is_file() else []


def process(entity, project, run_id, payload, user_id=None):
    """Take what a run sends; its lines of history replace those of the same number and after."""
    sent = payload.get("files", {}).get("wandb-history.jsonl")
    file, lines = history(entity, project, run_id)
    if sent and sent["offset"] < len(lines):
        kept = lines[: sent["offset"]]
        file.write_text("".join(f"{line}\n" for line in kept))
        step = json.loads(lines[sent["offset"]])["_step"]
        with database.get_db() as connection:
            connection.execute("DELETE FROM metrics WHERE run_id = ? AND step >= ?", (run_id, step))
    answer = take(entity, project, run_id, payload, user_id=user_id)
    for line in payload.get("files", {}).get("wandb-summary.json", {}).get("content", []):
        # openwandb leaves out what is no plain number, such as {"max": 0.9, "last": 0.8}.
        database.update_run_summary(run_id, {key: value for key, value in json.loads(line).items() if key[0] != "_"})
    if payload.get("complete") and payload.get("exitcode"):
        database.update_run_state(run_id, "failed")
    return answer


def described(run):
    """Return what the client is told of a run, the end of its history included."""
    found = describe(run)
    lines = history(found._entity_name, found._project_name, found.name)[1]
    found.history_line_count = len(lines)
    found.history_tail, found.events_tail = json.dumps(lines[-1:]), "[]"
    # By this the client knows that the run had begun.
    found._config_json = json.dumps(json.loads(found._config_json).get("_wandb", {}).get("value", {}))
    return found


@server.app.middleware("http")
async def note(request, call_next):
    """Write down each request of the client's."""
    if request.url.path == "/graphql":
        asked = json.loads(await request.body())
        with (FOLDER / "requests.jsonl").open("a") as file:
            print(json.dumps({"request": asked.get("operationName"), **(asked.get("variables") or {})}), file=file)
    return await call_next(request)


file_stream.process_file_stream = process
graphql_schema._run_to_type = described
uvicorn.run(server.app, host="127.0.0.1", port=PORT, log_level="warning")
