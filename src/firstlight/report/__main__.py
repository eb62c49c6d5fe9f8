"""Show runs, sweeps and benchmarks on one HTML page:  python -m firstlight.report runs=logs/sweep/<sweep>"""

import webbrowser
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.files import write_atomically
from firstlight.run.output_path import validate_output_file
from firstlight.run_data.search_dirs import validate_search_dirs

SUFFIXES = (".html", ".htm")
# At the start of page.html.
GENERATOR = b'<meta name="generator" content="firstlight report">'


@command("report")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Write the report, and print its path and contents.

    Returns:
        The path, the number of runs with each status, and the number of benchmarks.
    """
    run_dirs = validate_search_dirs(cfg.runs)
    if not isinstance(cfg.open_browser, bool):
        fix = "Use open_browser=true."
        raise ConfigError(invalid_value("open_browser", cfg.open_browser, "true or false", fix))
    output_path = prepare_output_path(cfg, run_dirs)
    # Imported after the checks, so that errors in the arguments are reported immediately.
    from firstlight.page.render import render
    from firstlight.run_data.collect import collect_report

    content = collect_report(run_dirs)
    write_atomically(output_path, render(content))
    counts = Counter(run["status"] for run in content.report["runs"])
    statuses = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    parts = [f"{output_path} ({output_path.stat().st_size / 1e6:.1f} MB)"]
    parts.append(format_count(counts.total(), "run") + (f" ({statuses})" if statuses else ""))
    if content.report["benchmarks"]:
        parts.append(format_count(len(content.report["benchmarks"]), "benchmark"))
    print(f"Report: {' · '.join(parts)}")
    if cfg.open_browser and not webbrowser.open(output_path.resolve().as_uri()):
        print(f"No browser found. Open {output_path} in a browser.")
    num_benchmarks = len(content.report["benchmarks"])
    return {"output": str(output_path), "num_runs": dict(counts), "num_benchmarks": num_benchmarks}


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def prepare_output_path(cfg: DictConfig, run_dirs: list[Path]) -> Path:
    """Return the path of the report.

    Raises:
        ConfigError: If the path is not the path of an HTML file, belongs to another program or cannot be written.
    """
    default_dir = run_dirs[0] if len(run_dirs) == 1 else Path("logs")
    is_default = cfg.output == "auto"
    output = str(default_dir / "report.html") if is_default else cfg.output
    if is_default and Path(output).is_symlink():  # of a run that may come from someone else
        raise ConfigError(f"{output} is a link. Choose another location with output=<file>.")
    return validate_output_file(output, SUFFIXES, is_own=is_report, name="report")


def is_report(path: Path) -> bool:
    """Return True if a file was written by this command."""
    with path.open("rb") as file:
        return GENERATOR in file.read(2_000)


if __name__ == "__main__":
    main()
