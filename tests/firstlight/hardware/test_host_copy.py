"""Results of the device are read a few batches later, complete and in order."""

import pytest
import torch

from firstlight.hardware.host_copy import MAX_PENDING, HostCopy, HostCopyQueue


def test_result_on_the_cpu_is_read_at_once():
    queue, tensor = HostCopyQueue(), torch.arange(3)
    queue.put({"ids": tensor, "names": ["a"]})

    (value,) = queue.iter_ready()
    assert value["ids"] is tensor
    assert value["names"] == ["a"]


def test_copies_that_are_not_complete_are_read_after_two_more_batches(monkeypatch):
    monkeypatch.setattr(HostCopy, "is_ready", lambda copy: False)
    queue, read = HostCopyQueue(), []
    for batch in range(5):
        queue.put(batch)
        read.append(list(queue.iter_ready()))

    assert MAX_PENDING == 2
    assert read == [[], [], [0], [1], [2]]
    assert list(queue.iter_all()) == [3, 4]
    assert list(queue.iter_all()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires CUDA")
def test_copy_from_cuda_does_not_wait():
    values = torch.randn(100, 100, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        copy = HostCopy([values, "text"])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    tensor, text = copy.read()

    torch.testing.assert_close(tensor, values.cpu(), rtol=0, atol=0)
    assert text == "text"
    assert not tensor.is_pinned()
