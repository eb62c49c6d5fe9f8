"""Compare the overrides of runs."""


def find_varying_overrides(runs: list[dict[str, str]]) -> list[str]:
    """Return the keys whose override differs between runs.

    Args:
        runs: Overrides of each run by key.
    """
    keys = dict.fromkeys(key for overrides in runs for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in runs}) > 1]
