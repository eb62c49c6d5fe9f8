"""Train the smallest model by the real commands:  python tests/firstlight/support/small_training.py train|sweep <words>

STEP_SECONDS makes each step last; at step STOP_AT the process gets signal STOP_BY; FAIL_ABOVE fails larger batches.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from firstlight import build, train
from firstlight.sweep import __main__ as sweep
from support.small import WORDS, Small


class Scripted(Small):
    """Does as the environment says."""

    def training_step(self, batch, batch_idx):
        """Wait, and stop or fail where it should."""
        time.sleep(float(os.environ.get("STEP_SECONDS", 0)))
        if self.trainer.global_step == int(os.environ.get("STOP_AT", -1)):
            os.kill(os.getpid(), int(os.environ["STOP_BY"]))
        if len(batch["labels"]) > int(os.environ.get("FAIL_ABOVE", 10**6)):
            raise RuntimeError("too large")
        return super().training_step(batch, batch_idx)


build.build_model = lambda settings, facts: Scripted()
build.load_model = lambda *args: Scripted()
command, *words = sys.argv[1:]
resumes = any(word.startswith("resume=") for word in words)
swept = {word.partition("=")[0] for word in words}
small = [word for word in WORDS if word != "logger=none" and word.partition("=")[0] not in swept]
sys.argv[1:] = words if resumes else [*small, "data.num_samples=16", "trainer.log_every_n_steps=1", *words]
{"train": train, "sweep": sweep}[command].main()
