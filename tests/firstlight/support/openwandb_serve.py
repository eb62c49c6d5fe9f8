"""Serve W&B's protocol:  .openwandb/bin/python tests/firstlight/support/openwandb_serve.py PORT DIRECTORY

openwandb accepts all data of the W&B client, but does not support resumed runs, groups, exit codes and best values.
This script adds them. As at W&B, each history line has a number and replaces an earlier line with the same number.
"""

import json
import os
import sys
from pathlib import Path

PORT, DIRECTORY = int(sys.argv[1]), Path(sys.argv[2])
# openwandb reads these variables when it is imported.
os.environ.update(OPENWANDB_DATA_DIR=str(DIRECTORY), OPENWANDB_HOST="127.0.0.1", OPENWANDB_PORT=str(PORT))

import uvicorn  # noqa: E402
from openwandb import database, file_stream, graphql_schema, server, storage  # noqa: E402

original_process_file_stream = file_stream.process_file_stream
original_run_to_type = graphql_schema._run_to_type


def load_history(entity, project, run_id):
    """Return the path of a run's history file and its lines."""
    path = storage.get_run_files_dir(entity, project, run_id) / "wandb-history.jsonl"
    return path, path.read_text().splitlines() if path.is_file() else []


def process_file_stream(entity, project, run_id, payload, user_id=None):
    """Store the data of a run; history lines replace those with the same number and all later ones."""
    received = payload.get("files", {}).get("wandb-history.jsonl")
    path, lines = load_history(entity, project, run_id)
    if received and received["offset"] < len(lines):
        path.write_text("".join(f"{line}\n" for line in lines[: received["offset"]]))
        step = json.loads(lines[received["offset"]])["_step"]
        with database.get_db() as connection:
            connection.execute("DELETE FROM metrics WHERE run_id = ? AND step >= ?", (run_id, step))
    response = original_process_file_stream(entity, project, run_id, payload, user_id=user_id)
    for line in payload.get("files", {}).get("wandb-summary.json", {}).get("content", []):
        # openwandb ignores values that are not numbers, such as {"max": 0.9, "last": 0.8}.
        database.update_run_summary(run_id, {key: value for key, value in json.loads(line).items() if key[0] != "_"})
    if payload.get("complete") and payload.get("exitcode"):
        database.update_run_state(run_id, "failed")
    return response


def run_to_type(run):
    """Return the GraphQL object of a run, including the end of its history."""
    result = original_run_to_type(run)
    _, lines = load_history(result._entity_name, result._project_name, result.name)
    result.history_line_count = len(lines)
    result.history_tail, result.events_tail = json.dumps(lines[-1:]), "[]"
    # The client recognizes by this value that the run has already started.
    result._config_json = json.dumps(json.loads(result._config_json).get("_wandb", {}).get("value", {}))
    return result


@server.app.middleware("http")
async def record_request(request, call_next):
    """Append each GraphQL request to requests.jsonl."""
    if request.url.path == "/graphql":
        body = json.loads(await request.body())
        with (DIRECTORY / "requests.jsonl").open("a") as file:
            print(json.dumps({"request": body.get("operationName"), **(body.get("variables") or {})}), file=file)
    return await call_next(request)


file_stream.process_file_stream = process_file_stream
graphql_schema._run_to_type = run_to_type
uvicorn.run(server.app, host="127.0.0.1", port=PORT, log_level="warning")
