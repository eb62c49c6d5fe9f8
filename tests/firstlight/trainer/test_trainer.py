"""Settings that the trainer applies to the whole process."""

import torch

from firstlight.trainer.trainer import DEFAULT_NUM_THREADS, Trainer


def test_num_threads_applies_to_one_job_only():
    Trainer(num_threads=DEFAULT_NUM_THREADS + 1)
    assert torch.get_num_threads() == DEFAULT_NUM_THREADS + 1

    Trainer()
    assert torch.get_num_threads() == DEFAULT_NUM_THREADS
