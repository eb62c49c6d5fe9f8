"""A local server with W&B's protocol, and training runs in separate processes that log to it."""

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
OPENWANDB_PYTHON = ROOT / ".openwandb" / "bin" / "python"
SERVER_SCRIPT = Path(__file__).parent / "openwandb_serve.py"
# openwandb is not a dependency of the project: it has its own environment.
SKIP_REASON = "requires openwandb: uv venv .openwandb && uv pip install --python .openwandb openwandb==0.5.25"

# Timeout for operations that take a second on an idle machine.
TIMEOUT_S = 120


def make_python_args(*overrides: str, name: str = "train") -> list[str]:
    """Return the arguments of Python for a small training run or sweep that logs to W&B."""
    is_resumed = any(override.startswith("resume=") for override in overrides)
    return make_command(name, *overrides, *([] if is_resumed else ["logger=wandb"]))[1:]


def find_free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, description: str) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{description}: not within {TIMEOUT_S} s"
        time.sleep(0.1)


class Server:
    """openwandb with its files in a directory, and access to the data that it received."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = find_free_port()
        self.process: subprocess.Popen | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        log_path = self.directory / "server.log"
        with log_path.open("a") as log:
            command = [OPENWANDB_PYTHON, SERVER_SCRIPT, str(self.port), self.directory]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": self.directory})
        wait_until(self.accepts_connections, f"openwandb accepts connections ({log_path.read_text()[-500:]})")

    def accepts_connections(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill the server, as a power failure would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def query(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query of the server's database."""
        if not (self.directory / "openwandb.db").is_file():
            return []
        connection = sqlite3.connect(self.directory / "openwandb.db", timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def load_runs(self) -> dict[str, dict]:
        """Return name, state, tags, config and summary of each run by run ID."""
        return {
            row["run_id"]: {
                "name": row["display_name"],
                "state": row["state"],
                **{key: json.loads(row[f"{key}_json"]) for key in ("tags", "config", "summary")},
            }
            for row in self.query("SELECT * FROM runs")
        }

    def load_steps(self, run_id: str, metric: str = "train/loss") -> list[int]:
        """Return the training steps at which a run logged a metric, sorted by W&B's own step.

        A row that was sent twice, because the first request was not answered, counts once, as in W&B's history.
        """
        sql = """
            SELECT DISTINCT metrics.step, steps.value FROM metrics
            JOIN metrics AS steps ON metrics.run_id = steps.run_id AND metrics.step = steps.step
            WHERE steps.key = 'trainer/global_step' AND metrics.run_id = ? AND metrics.key = ? ORDER BY metrics.step
        """
        return [int(row["value"]) for row in self.query(sql, run_id, metric)]

    def load_requests(self, operation: str) -> list[dict]:
        """Return the received requests of a GraphQL operation."""
        file = self.directory / "requests.jsonl"
        requests = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return [request for request in requests if request["request"] == operation]


class Client:
    """A working directory for training runs, with an API key for a server, isolated from the user's directories."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        # An earlier test in this process may have set the address of its W&B service, which the runs would then share.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        self.environment = inherited | {
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
            "WANDB_API_KEY": "local" + 40 * "0",
            **{f"WANDB_{name}_DIR": str(directory / name.lower()) for name in ("DATA", "CACHE", "CONFIG")},
            "OMP_NUM_THREADS": "1",
            "WANDB_INIT_TIMEOUT": str(TIMEOUT_S),  # The server answers slowly on a busy machine.
        }
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, *args: str, **variables: str) -> subprocess.Popen:
        """Start Python with these arguments in the working directory."""
        environment = {**self.environment, **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *args], cwd=self.directory, env=environment, **pipes)

    def run(self, *args: str, exit_code: int = 0, **variables: str) -> str:
        """Run Python with these arguments, check the exit code, and return the output."""
        process = self.start(*args, **variables)
        out, err = process.communicate(timeout=5 * TIMEOUT_S)
        assert process.returncode == exit_code, out + err
        return out + err

    def train(self, *overrides: str, exit_code: int = 0, **variables: str) -> str:
        return self.run(*make_python_args(*overrides), exit_code=exit_code, **variables)

    def sync(self, *overrides: str, exit_code: int = 0, **variables: str) -> str:
        return self.run("-m", "firstlight.wandb_sync", *overrides, exit_code=exit_code, **variables)

    def load_record(self, run_dir: str) -> dict:
        """Return the run.json of a run."""
        return json.loads((self.directory / run_dir / "run.json").read_text())
