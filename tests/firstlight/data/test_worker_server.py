"""DataLoader workers that a server forks, as on Linux from Python 3.14 on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from firstlight.run.parent import is_alive

SCRIPT = """
import multiprocessing, os, signal, time
from multiprocessing import forkserver
from pathlib import Path
from firstlight.data.fake_images import FakeImageDataModule

def read_cpu_s(pid):
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    data = FakeImageDataModule(num_samples=64, num_classes=2, batch_size=4, num_workers=2)
    data.prepare_data()
    data.setup("fit")
    iterator = iter(data.train_dataloader())
    next(iterator)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGTERM)
    os.kill(server, signal.SIGINT)
    time.sleep(0.5)
    workers = multiprocessing.active_children()
    num_batches = 1 + sum(1 for _, batch in zip(range(10), iterator))
    print(server, *(worker.pid for worker in workers))
    print(num_batches, all(worker.is_alive() for worker in workers), max(read_cpu_s(worker.pid) for worker in workers))
    print(flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_share_imports_survive_stop_signals_and_end_with_the_run(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    pids = [int(pid) for pid in run.stdout.readline().split()]
    num_batches, are_alive, cpu_s = run.stdout.readline().split()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.2)

    assert len(pids) == 3  # the server and two workers
    assert (num_batches, are_alive) == ("11", "True")
    # A worker that imports torch needs more than 3 s of CPU time.
    assert float(cpu_s) < 2
    assert not [pid for pid in pids if is_alive(pid)]
