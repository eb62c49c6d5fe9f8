"""What ended a process that reads samples, as a sentence a user can act on."""

import re

# What torch says, and the sentence for it; a cause comes before what follows from it.
FAULTS = {
    r"out of shared memory|signal: Bus error": (
        "The shared memory in which loader processes hand over their batches is full: give fewer data.num_workers or "
        "a smaller data.batch_size, or enlarge /dev/shm (docker run --shm-size=8g)"
    ),
    r"signal: Killed": (
        "The system killed a loader process, most likely because memory ran out: give fewer data.num_workers or a "
        "smaller data.batch_size"
    ),
    r"timed out after ([\d.]+) seconds": (
        "The loader processes gave no batch for {} seconds: see whether the disk of the data answers, give other "
        "data.num_workers, or data.num_workers=0 to see where it waits"
    ),
    r"signal: ([\w ]+)": (
        "A loader process was ended by the signal {}: data.num_workers=0 shows which sample does it, if one does"
    ),
    r"DataLoader worker .* exited unexpectedly": (
        "A loader process ended without a word: data.num_workers=0 shows the error itself; if there is none, memory "
        "ran out, so give fewer data.num_workers"
    ),
}


def worker_fault(error: BaseException) -> str | None:
    """Return the sentence for an error of torch's DataLoader about its processes; None for any other error."""
    told = ""
    link: BaseException | None = error
    while link:
        told += f"{link}\n" if "DataLoader" in str(link) else ""
        link = link.__cause__ or link.__context__
    for pattern, sentence in FAULTS.items():
        if found := re.search(pattern, told):
            return sentence.format(*found.groups())
    return None
