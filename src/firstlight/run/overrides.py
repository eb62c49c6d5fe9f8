"""Compare the overrides of runs."""


def find_varying_overrides(settings: list[dict[str, str]]) -> list[str]:
    """Return the names of the settings that were not typed alike in all runs."""
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({each.get(name) for each in settings}) > 1]
