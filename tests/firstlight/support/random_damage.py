"""What tests with random damage share: senseless values, accidents to a file, and a limit of time."""

import signal
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase

# What is put in the place of a value; the first ones cannot be typed.
INVALID_VALUES = [
    "!!python/object/apply:os.system [x]",
    "!!binary x",
    "&a [1]",
    "*nope",
    "2020-01-01",
    "[[]",
    "\t",
    "- x",
    "{}",
]
INVALID_OVERRIDES = [
    "null",
    "-1",
    "0",
    "1",
    "2.5",
    "-0.5",
    "1e999",
    "-1e999",
    ".nan",
    "true",
    "false",
    '""',
    "[]",
    "{}",
    "[1,2]",
]
INVALID_OVERRIDES += [
    "x" * 999,
    "${nope}",
    "${seed}",
    "${output_dir}",
    "${a",
    "???",
    "auto",
    "'1'",
    "1e-3",
    "1e-300",
    "{a: 1}",
]
INVALID_OVERRIDES += [
    "4294967296",
    "999999999999",
    "9223372036854775807",
    "1" + 30 * "0",
    "[[]]",
    "/",
    "é\\0",
    "[null]",
    "\\n",
]
INVALID_OVERRIDES += [
    "torch.optim.SGD",
    "firstlight.trainer.trainer.Trainer",
    "firstlight.data.datamodule.ClassificationDataModule",
    "lightning.pytorch.Trainer",
]
INVALID_VALUES += INVALID_OVERRIDES
# Few levels: what they grow to is 6 ** 4 values.
BILLION_LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}' if n else 'ha'] * 6)}]\n" for n in range(4)).encode()

# To shrink a failure takes as many examples again.
FUZZ_SETTINGS = {
    "phases": [Phase.generate],
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


class TimeLimitExceeded(BaseException):
    """An example takes too long."""


@contextmanager
def time_limit(seconds):
    def stop(*args):
        raise TimeLimitExceeded

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damage(chance, content):
    """Return a file's bytes after one or two accidents."""
    for _ in range(chance.randint(1, 2)):
        content = chance.choice([replace_value, replace_value, *DAMAGE_FUNCTIONS])(chance, content)
    return content


def replace_value(chance, content):
    lines = content.splitlines(keepends=True)
    valued = [number for number, line in enumerate(lines) if b":" in line.partition(b"#")[0]]
    if valued:
        one = chance.choice(valued)
        comma = "," if lines[one].rstrip().endswith(b",") else ""  # of JSON
        lines[one] = lines[one].partition(b":")[0] + f": {chance.choice(INVALID_VALUES)}{comma}\n".encode()
    return b"".join(lines)


def change_line(chance, content):
    """Delete, double, move or replace a line."""
    lines = content.splitlines(keepends=True) or [b""]
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    taken = lines.pop(one) if chance.random() < 0.7 else lines[one]
    lines[other:other] = [taken] * chance.randrange(3)
    return b"".join(lines)


def change_byte(chance, content):
    """Put something in the place of some bytes, or between two."""
    at, some = chance.randrange(len(content) + 1), chance.randrange(3)
    inserted = [b"", b":", b"-", b" ", b"\n", b"#", b"'", b"{", b"0", b"\t", b"\xff\xfe", b"\0", b"&a ", b"*a", b"${"]
    return content[:at] + chance.choice([*inserted, chance.randbytes(5)]) + content[at + some :]


def truncate(chance, content):
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice([b"", b"", b"[" * 3000, chance.randbytes(99)])


def enlarge(chance, content):
    return chance.choice(
        [content + BILLION_LAUGHS, BILLION_LAUGHS + content, b"", b"[]", b"5", b"- a\n", chance.randbytes(99)]
    )


DAMAGE_FUNCTIONS = [replace_value, change_line, change_line, change_byte, change_byte, truncate, enlarge]


def list_leaves(cfg, prefix=""):
    """Return the dotted names of all settings, the groups themselves included."""
    found = []
    for name, value in cfg.items():
        found.append(f"{prefix}{name}")
        found += list_leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else []
    return found
