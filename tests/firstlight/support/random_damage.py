"""Helpers of fuzz tests: invalid values, random damage to files, and a time limit."""

import signal
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase

# Replacements of a value in a YAML file; the first ones are not possible on the command line.
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
    "firstlight.data.datamodule.LabeledDataModule",
    "lightning.pytorch.Trainer",
]
INVALID_VALUES += INVALID_OVERRIDES
# Only 4 levels, so that the aliases expand to 6 ** 4 values.
BILLION_LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}' if n else 'ha'] * 6)}]\n" for n in range(4)).encode()

# Without shrinking a failure, which would take as many examples again.
FUZZ_SETTINGS = {
    "phases": [Phase.generate],
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


class TimeLimitExceeded(BaseException):
    """Raised if an example exceeds the time limit."""


@contextmanager
def time_limit(seconds):
    """Raise TimeLimitExceeded if the block takes longer than the given number of seconds."""

    def raise_error(*args):
        raise TimeLimitExceeded

    previous = signal.signal(signal.SIGALRM, raise_error)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def damage(rng, content):
    """Damage the content of a file in one or two random ways."""
    for _ in range(rng.randint(1, 2)):
        content = rng.choice([replace_value, replace_value, *DAMAGE_FUNCTIONS])(rng, content)
    return content


def replace_value(rng, content):
    """Replace the value of a random key by an invalid one."""
    lines = content.splitlines(keepends=True)
    candidates = [number for number, line in enumerate(lines) if b":" in line.partition(b"#")[0]]
    if candidates:
        number = rng.choice(candidates)
        comma = "," if lines[number].rstrip().endswith(b",") else ""  # in JSON
        lines[number] = lines[number].partition(b":")[0] + f": {rng.choice(INVALID_VALUES)}{comma}\n".encode()
    return b"".join(lines)


def change_line(rng, content):
    """Delete, duplicate, move or replace a line."""
    lines = content.splitlines(keepends=True) or [b""]
    source, target = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines.pop(source) if rng.random() < 0.7 else lines[source]
    lines[target:target] = [line] * rng.randrange(3)
    return b"".join(lines)


def change_byte(rng, content):
    """Replace up to two bytes, or insert bytes."""
    start, count = rng.randrange(len(content) + 1), rng.randrange(3)
    inserted = [b"", b":", b"-", b" ", b"\n", b"#", b"'", b"{", b"0", b"\t", b"\xff\xfe", b"\0", b"&a ", b"*a", b"${"]
    return content[:start] + rng.choice([*inserted, rng.randbytes(5)]) + content[start + count :]


def truncate(rng, content):
    """Cut off the end of the content, or replace it by random bytes or deep nesting."""
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice([b"", b"", b"[" * 3000, rng.randbytes(99)])


def replace_or_expand(rng, content):
    """Add YAML aliases that expand exponentially, or replace all of the content."""
    return rng.choice(
        [content + BILLION_LAUGHS, BILLION_LAUGHS + content, b"", b"[]", b"5", b"- a\n", rng.randbytes(99)]
    )


DAMAGE_FUNCTIONS = [replace_value, change_line, change_line, change_byte, change_byte, truncate, replace_or_expand]


def list_keys(cfg, prefix=""):
    """Return the dotted names of all config keys, including the groups."""
    keys = []
    for name, value in cfg.items():
        keys.append(f"{prefix}{name}")
        keys += list_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else []
    return keys
