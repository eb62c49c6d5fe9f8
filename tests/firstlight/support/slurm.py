"""A Slurm of its own on this machine, for tests: one node, started as root, reachable on loopback only."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
# The time limit is looked at each 30 seconds whatever is set here.
SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
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
    """Return why no Slurm can be started here, or nothing."""
    absent = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"Slurm's {', '.join(absent)} is not installed"
    return "" if os.geteuid() == 0 else "Slurm's daemons want to be root"


@contextmanager
def start_cluster(place: Path):
    """Start Slurm in a folder, and yield the environment in which its commands find it."""
    for name in ("state", "spool"):
        (place / name).mkdir(parents=True)
    place.chmod(0o755)
    (place / "munge.key").write_bytes(os.urandom(1024))
    (place / "munge.key").chmod(0o400)
    conf = place / "slurm.conf"
    conf.write_text(
        SLURM_CONF.format(host=socket.gethostname().partition(".")[0], place=place, ports=find_free_ports())
    )
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    options = ["socket", "key-file", "pid-file", "log-file", "seed-file"]
    files = ["munge.socket", "munge.key", "munged.pid", "munged.log", "munge.seed"]
    munged = [f"--{option}={place / file}" for option, file in zip(options, files, strict=True)]
    try:
        subprocess.run(["munged", *munged, "--force"], check=True)
        subprocess.run(["slurmctld", "-f", conf], check=True, env=environment)
        subprocess.run(["slurmd", "-f", conf], check=True, env=environment)
        wait_until(lambda: "idle" in run_command(environment, "sinfo", "--noheader", "--format=%t"), 60)
        yield environment
    finally:
        run_command(environment, "scancel", "--state=PENDING,RUNNING", f"--user={os.getuid()}")
        for name in ("slurmd.pid", "slurmctld.pid", "munged.pid"):
            stop_process(place / name)


def stop_process(file: Path) -> None:
    """End the process whose number a file holds."""
    if file.is_file():
        number = int(file.read_text())
        os.kill(number, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{number}").exists(), 20)


def run_command(environment: dict[str, str], *command: str) -> str:
    """Return what one of Slurm's commands prints."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait_until(holds, seconds: float) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true in {seconds} s"
        time.sleep(0.3)


def find_free_ports() -> list[int]:
    """Return two ports that nobody listens at."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in (one, other)]
