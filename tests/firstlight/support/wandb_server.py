"""A server of W&B's protocol on this machine, and trainings in processes of their own that talk to it."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from support.tiny_training import make_command

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".openwandb" / "bin" / "python"
SERVE = Path(__file__).parent / "openwandb_serve.py"
# openwandb is not installed with the project: it has an environment of its own.
MISSING = "needs openwandb: uv venv .openwandb && uv pip install --python .openwandb openwandb==0.5.25"

# For what takes a second on an idle machine.
PATIENCE_S = 120


def start_training(*words: str, name: str = "train") -> list[str]:
    """Return what Python runs for a small training, or a sweep over such, that W&B hears of."""
    resumes = any(word.startswith("resume=") for word in words)
    return make_command(name, *words, *([] if resumes else ["logger=wandb"]))[1:]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(true, what: str) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.1)


class Server:
    """openwandb in a folder, and what it has been sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "server.log").open("a") as log:
            command = [PYTHON, SERVE, str(self.port), self.folder]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": self.folder})
        wait_until(self.answers, f"openwandb answers ({(self.folder / 'server.log').read_text()[-500:]})")

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return what a query of its database finds."""
        if not (self.folder / "openwandb.db").is_file():
            return []
        connection = sqlite3.connect(self.folder / "openwandb.db", timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def runs(self) -> dict[str, dict]:
        """Return its runs by their ids: name, state, tags, config and summary."""
        return {
            row["run_id"]: {
                "name": row["display_name"],
                "state": row["state"],
                **{key: json.loads(row[f"{key}_json"]) for key in ("tags", "config", "summary")},
            }
            for row in self.rows("SELECT * FROM runs")
        }

    def steps(self, run: str, metric: str = "train/loss") -> list[int]:
        """Return at which steps of the training a run has a metric, in order of W&B's own steps.

        A row that was sent again, because its first sending had no answer, counts once, as in W&B's history.
        """
        query = """
            SELECT DISTINCT metrics.step, steps.value FROM metrics
            JOIN metrics AS steps ON metrics.run_id = steps.run_id AND metrics.step = steps.step
            WHERE steps.key = 'trainer/global_step' AND metrics.run_id = ? AND metrics.key = ? ORDER BY metrics.step
        """
        return [int(row["value"]) for row in self.rows(query, run, metric)]

    def sent(self, request: str) -> list[dict]:
        """Return the requests of a kind."""
        file = self.folder / "requests.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return [line for line in lines if line["request"] == request]


class Client:
    """A folder to train in, with a key for a server; nothing of it reaches the user's own folders."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        # A test of the same process that used W&B left the address of its service there: runs would share it.
        others = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        self.environment = others | {
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
            "WANDB_API_KEY": "local" + 40 * "0",
            **{f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")},
            "OMP_NUM_THREADS": "1",
            "WANDB_INIT_TIMEOUT": str(PATIENCE_S),  # a loaded machine is no dead server
        }
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *words: str, **variables: str) -> subprocess.Popen:
        """Start a Python script or module in the folder."""
        environment = {**self.environment, **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *words], cwd=self.folder, env=environment, **pipes)

    def run(self, *words: str, expected: int = 0, **variables: str) -> str:
        """Run it, hold its exit code against the expected one, and return what it printed."""
        process = self.start(*words, **variables)
        out, err = process.communicate(timeout=5 * PATIENCE_S)
        assert process.returncode == expected, out + err
        return out + err

    def train(self, *words: str, expected: int = 0, **variables: str) -> str:
        return self.run(*start_training(*words), expected=expected, **variables)

    def sync(self, *words: str, expected: int = 0, **variables: str) -> str:
        return self.run("-m", "firstlight.wandb_sync", *words, expected=expected, **variables)

    def record(self, folder: str) -> dict:
        """Return the run.json of a run."""
        return json.loads((self.folder / folder / "run.json").read_text())
