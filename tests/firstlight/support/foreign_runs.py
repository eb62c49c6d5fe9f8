"""Use changed run directories in all commands, and check that nothing outside of them is touched.

    python tests/firstlight/support/foreign_runs.py <cases> [first seed]

Each case is a function of its seed. It runs in a fork of this process, in which an audit hook records each file that
is opened for writing, each deletion, connection and process. A case fails if one of them is not permitted, if a
traceback is printed, if a file outside changes, if the text of a private file is copied, or after 20 s.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "CANARY": "CANARYCANARY", "WANDB_API_KEY": "k" * 40}
os.environ.setdefault("FIRSTLIGHT_CONFIG_PATH", str(Path(__file__).parent / "configs"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from PIL import Image

import firstlight.build  # noqa: F401 - imported before the forks
from support.options import get_tiny_model, make_tiny_overrides
from support.run_mutations import mutate

TIMEOUT_S = 20
CANARY = b"CANARYCANARY"
COMMANDS = {
    "evaluate": ["run=run"],
    "predict": ["run=run", "input=inputs"],
    "train": ["resume=run", "trainer.max_epochs=2"],
    "export.__main__": ["run=run", "format=safetensors"],
    "report.__main__": ["runs=."],
    "runs.__main__": ["runs=."],
    "wandb_sync": ["runs=."],
}
# Programs that the engine starts to describe the machine and the commit.
PROGRAMS = {"git", "uname", "lscpu", "file"}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.mkdir": 1,
    "os.truncate": 1,
}
CHANGES |= {"shutil.rmtree": 1, "os.chmod": 1, "os.utime": 1, "shutil.move": 2}
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "os.system", "os.exec")


class Recorder:
    """Audit hook that records what a command does outside of some directories.

    Args:
        permitted: Directories in which the command may write.
    """

    def __init__(self, permitted):
        self.permitted = [os.path.realpath(path) for path in permitted]
        self.found = []

    def __call__(self, event, arguments):
        """Record one event of the interpreter."""
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(flags, int) and flags & WRITE_FLAGS) or set(mode or "") & set("wax+"):
                self.check_path(event, path)
        elif event in CHANGES:
            for path in arguments[: CHANGES[event]]:
                # The link itself is changed, not its target.
                self.check_path(event, os.path.join(os.path.realpath(os.path.dirname(os.fspath(path))), "x"))
        elif event in NETWORK or (event == "subprocess.Popen" and Path(str(arguments[1][0])).name not in PROGRAMS):
            self.found.append(f"{event} {arguments[:2]}")

    def check_path(self, event, path):
        """Record a path outside of the permitted directories; file descriptors are open already."""
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == root or real.startswith(f"{root}/") for root in self.permitted):
            self.found.append(f"{event} {path}")


def prepare(parent):
    """Train the run that all cases change, in a fork, because a process that has trained should not fork."""
    if (child := os.fork()) == 0:
        sys.argv = ["train", *make_tiny_overrides(get_tiny_model("images")), f"output_dir={parent / 'run'}"]
        with_exit(lambda: import_module("firstlight.train").main())
    assert os.waitpid(child, 0)[1] == 0
    (parent / "inputs").mkdir()
    Image.new("RGB", (8, 8)).save(parent / "inputs" / "a.png")
    for name in COMMANDS:
        import_module(f"firstlight.{name}")
    import_module("firstlight.run_data.collect"), import_module("firstlight.page.render")


def with_exit(function):
    """Call a function and end this process with its exit code."""
    code = 1
    try:
        function()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_command(name, case_dir, log):
    """Run a command in this process, which a fork has created, and never return."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1), os.dup2(descriptor, 2)
    os.environ |= {"HOME": str(case_dir / "home"), "TMPDIR": str(case_dir / "tmp")}
    tempfile.tempdir = str(case_dir / "tmp")
    os.chdir(case_dir)
    recorder = Recorder([case_dir, "/dev/null", "/dev/shm", "/dev/stdout", "/proc/self"])
    sys.argv = [name, *COMMANDS[name]]
    signal.alarm(TIMEOUT_S)
    sys.addaudithook(recorder)

    def run():
        try:
            import_module(f"firstlight.{name}").main()
        finally:
            for line in recorder.found:
                print(f"OUTSIDE: {line}", flush=True)

    with_exit(run)


def read_tree(directory):
    """Return the contents of all files in a directory, and its links."""
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def find_canaries(case_dir):
    """Return the files of a case that contain the text of the private file."""
    files = [path for path in case_dir.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(case_dir)) for path in files if CANARY in path.read_bytes()]


def run_case(parent, seed):
    """Run one case.

    Returns:
        The command, and what is wrong: an empty list if nothing is.
    """
    generator = random.Random(seed)
    case_dir, victim = parent / f"case_{seed}", parent / f"victim_{seed}"
    shutil.copytree(parent / "run", case_dir / "run")
    shutil.copytree(parent / "inputs", case_dir / "inputs")
    for directory in (case_dir / "home", case_dir / "tmp", victim / "photos"):
        directory.mkdir(parents=True)
    (victim / "secret.txt").write_bytes(CANARY)
    (victim / "photos" / "one.txt").write_text("precious")
    name = generator.choice(sorted(COMMANDS))
    mutate(case_dir / "run", victim, generator)
    before, log = read_tree(victim), parent / f"log_{seed}"
    planted = set(find_canaries(case_dir))
    started = time.monotonic()
    if (child := os.fork()) == 0:
        run_command(name, case_dir, log)
    status = os.waitpid(child, 0)[1]
    duration_s, output = time.monotonic() - started, log.read_text(errors="replace")
    problems = [line for line in output.splitlines() if line.startswith("OUTSIDE: ")]
    if os.WIFSIGNALED(status):
        problems.append(f"ended by signal {os.WTERMSIG(status)} after {duration_s:.0f} s")
    if "Traceback (most recent call last)" in output:
        problems.append("traceback")
    if read_tree(victim) != before:
        problems.append("a file outside was changed")
    if CANARY.decode() in output or set(find_canaries(case_dir)) - planted:
        problems.append("a private text was copied")
    if not problems:
        for path in (case_dir, victim):
            shutil.rmtree(path)
        log.unlink()
    return name, problems


def main(count, first=0):
    """Run cases, print those that fail, and return how many do."""
    parent = Path(tempfile.mkdtemp(prefix="foreign_runs_")).resolve()
    torch.set_num_threads(1)
    prepare(parent)
    num_failed = 0
    for seed in range(first, first + count):
        name, problems = run_case(parent, seed)
        if problems:
            num_failed += 1
            print(f"seed {seed}  {name}: {'; '.join(problems)}  ({parent / f'log_{seed}'})", flush=True)
    print(f"{count} cases, {num_failed} failed", flush=True)
    if not num_failed:
        shutil.rmtree(parent)
    return num_failed


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
