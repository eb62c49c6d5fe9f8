"""A Slurm cluster for tests: one node on this machine, started as root, reachable on loopback only."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
# Slurm checks time limits every 30 seconds, and no option changes this.
SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def find_missing_programs() -> str:
    """Return why Slurm cannot be started on this machine, or "" if it can."""
    missing = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"Slurm programs not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Slurm daemons must run as root"


@contextmanager
def start_cluster(directory: Path):
    """Start Slurm with its files in a directory, and yield the environment variables for its commands."""
    for name in ("state", "spool"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    (directory / "munge.key").write_bytes(os.urandom(1024))
    (directory / "munge.key").chmod(0o400)
    conf = directory / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(SLURM_CONF.format(host=host, directory=directory, ports=find_free_ports()))
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    options = ["socket", "key-file", "pid-file", "log-file", "seed-file"]
    files = ["munge.socket", "munge.key", "munged.pid", "munged.log", "munge.seed"]
    munged = [f"--{option}={directory / file}" for option, file in zip(options, files, strict=True)]
    try:
        subprocess.run(["munged", *munged, "--force"], check=True)
        subprocess.run(["slurmctld", "-f", conf], check=True, env=environment)
        subprocess.run(["slurmd", "-f", conf], check=True, env=environment)
        wait_until(lambda: "idle" in run_command(environment, "sinfo", "--noheader", "--format=%t"), 60)
        yield environment
    finally:
        run_command(environment, "scancel", "--state=PENDING,RUNNING", f"--user={os.getuid()}")
        for name in ("slurmd.pid", "slurmctld.pid", "munged.pid"):
            stop_process(directory / name)


def stop_process(pid_file: Path) -> None:
    """Stop the process whose ID is in a file."""
    if pid_file.is_file():
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20)


def run_command(environment: dict[str, str], *command: str) -> str:
    """Return the output of a Slurm command."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait_until(condition, timeout_s: float) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"condition not met within {timeout_s} s"
        time.sleep(0.3)


def find_free_ports() -> list[int]:
    """Return two free ports."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in (first, second)]
