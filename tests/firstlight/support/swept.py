"""Sweep over trainings of the smallest model, in whatever process a launcher runs them:

    python tests/firstlight/support/swept.py <words of make sweep>

STEP_SECONDS makes each step last; a training of more than FAIL_ABOVE epochs fails, one of KILL_ABOVE is killed.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from firstlight import train
from firstlight.cli.command import command
from firstlight.sweep import __main__ as sweep

TESTS = str(Path(__file__).parents[1])


def task(cfg):
    """Train Small; launchers send this function to their processes by value."""
    import os
    import signal
    import sys
    import time

    sys.path.insert(0, TESTS)
    from firstlight import build
    from support.small import Small

    class Scripted(Small):
        def training_step(self, batch, batch_idx):
            time.sleep(float(os.environ.get("STEP_SECONDS", 0)))
            if self.trainer.max_epochs > int(os.environ.get("FAIL_ABOVE", 10**6)):
                raise RuntimeError("too long")
            if self.trainer.max_epochs > int(os.environ.get("KILL_ABOVE", 10**6)):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().training_step(batch, batch_idx)

    build.build_model = lambda settings, facts: Scripted()
    build.load_model = lambda *args: Scripted()
    return train.main(cfg)


def in_process(monkeypatch, tmp_path, capsys, *always):
    """Return a function that sweeps over trainings of Small in this process, and gives the exit code and what it told.

    `always` are words of each sweep, before those that it is called with.
    """
    from firstlight import build
    from support.small import Small

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "build_model", lambda settings, facts: Small())
    monkeypatch.setattr(build, "load_model", lambda *args: Small())

    def typed(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *always, *words])
        with pytest.raises(SystemExit) as stop:
            sweep.main()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        told = capsys.readouterr()
        return stop.value.code, told.out + told.err

    return typed


if __name__ == "__main__":
    sys.path.insert(0, TESTS)
    from support.small import WORDS

    swept = {word.partition("=")[0] for word in sys.argv[1:]}
    words = [word for word in WORDS if word.partition("=")[0] not in swept]
    words += ["data.num_samples=16", "callbacks.confusion_matrix=null", "callbacks.first_batch=null"]
    sys.argv[1:] = [*words, "callbacks.curves=null", "trainer.log_every_n_steps=1", *sys.argv[1:]]

    class Task:
        main = staticmethod(command("train")(task))

    sweep.train = Task
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sweep.main()
