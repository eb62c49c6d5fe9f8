"""What the trainer sets for the whole process."""

import torch

from firstlight.trainer.trainer import DEFAULT_NUM_THREADS, Trainer


def test_the_threads_of_one_job_are_not_those_of_the_next():
    Trainer(num_threads=DEFAULT_NUM_THREADS + 1)
    assert torch.get_num_threads() == DEFAULT_NUM_THREADS + 1

    Trainer()
    assert torch.get_num_threads() == DEFAULT_NUM_THREADS
