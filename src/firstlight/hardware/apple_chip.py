"""The chip of a Mac, and the trainer settings for which results on such a chip are published."""

import functools
import platform
import re
import subprocess
import sys

import torch

# Published results, which this project could not check. On an M5 Pro, bf16 trains a transformer 1.3 times as fast
# (minimind#852), and weight gradients of convolutions are 2 to 5 times as fast (pytorch#193191). On an M4 Max, bf16 is
# slower (nanochat#685).
BF16_GENERATIONS = {5}
# On an M5 Pro, channels_last convolutions are faster (pytorch#192551), and from torch 2.15 on also their gradients
# (pytorch#193623), which were slow before (pytorch#193349). Up to torch 2.13, BatchNorm was wrong (pytorch#175189).
CHANNELS_LAST_GENERATIONS, CHANNELS_LAST_TORCH = {5}, "2.15"


@functools.cache
def get_chip_name() -> str:
    """Return the name of the chip of this Mac, such as "Apple M5 Pro"; "" on other machines, or if it is unknown."""
    if sys.platform != "darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):  # e.g. a PATH without /usr/sbin
        return ""


def parse_generation(name: str) -> int | None:
    """Return the generation of an Apple chip, e.g. 5 for "Apple M5 Pro"; None for other chips, or without its name."""
    match = re.match(r"Apple M(\d+)\b", name)
    return int(match[1]) if match else None


def describe_mac() -> str:
    """Return the chip and the system of this Mac, such as "Apple M5 Pro, macOS 26.4"; "" on other machines."""
    release = platform.mac_ver()[0]
    return ", ".join(filter(None, (get_chip_name(), release and f"macOS {release}")))


def get_mps_defaults() -> dict[str, str | bool]:
    """Return the `auto` values of configs/trainer/mps.yaml for this chip and torch; without results, the safe values.

    Nothing here was measured by this project. `make tune` measures on this Mac.
    """
    generation = parse_generation(get_chip_name())
    has_fast_layout = torch.__version__ >= CHANNELS_LAST_TORCH and generation in CHANNELS_LAST_GENERATIONS
    precision = "bf16-mixed" if generation in BF16_GENERATIONS else "32-true"
    return {"precision": precision, "channels_last": has_fast_layout}
