"""Format the results of the checks as text."""

from collections import Counter
from typing import Any

from firstlight.check_gpu.results import CheckResult, format_percentage

FAILURES = ("different", "failed")


def format_result(result: CheckResult) -> str:
    """Return the result of one check, as the end of a progress line."""
    if result.difference is None or result.limit is None:
        return result.status
    return f"{result.status}, {format_percentage(result.difference)} of {format_percentage(result.limit)}"


def count_statuses(checks: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of checks with each status."""
    return dict(sorted(Counter(check["status"] for check in checks).items()))


def list_failures(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the checks in which the accelerator differs from the CPU or fails."""
    return [check for check in results["checks"] if check["status"] in FAILURES]


def format_text(results: dict[str, Any]) -> str:
    """Return a line about the machine, a line per check that is not equal, and a line with the counts."""
    device, checks = results["device"], results["checks"]
    counts = [f"{count} {status}" for status, count in results["counts"].items()]
    machine = (
        f"{device['name']} ({device['accelerator']}), {results['system']['os']}, torch {results['versions']['torch']}"
    )
    lines = [f"{check['status']:12}{check['message']}. {check['fix']}".rstrip() for check in checks if check["message"]]
    return "\n".join([machine, *lines, f"{len(checks)} checks: {', '.join(counts)}"])
