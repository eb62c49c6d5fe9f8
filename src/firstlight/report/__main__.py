"""Show runs, sweeps and benchmarks on one page:  python -m firstlight.report runs=logs/sweep/<folder>"""

import tempfile
import webbrowser
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from firstlight.cli.command import command
from firstlight.run.files import write_atomically


@command("report")
def main(cfg: DictConfig) -> Path:
    """Write the page, say where it is and what it holds, and return its path."""
    folders = validate_run_dirs(cfg)
    output = resolve_output_path(cfg, folders)
    # Imported late: a mistake in the settings is told at once.
    from firstlight.report.collect import collect_report
    from firstlight.report.render import render

    content = collect_report(folders)
    text = render(content)
    write_atomically(output, text)
    counts = Counter(run["status"] for run in content.report["runs"])
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    print(f"runs      {counts.total()}" + (f" ({told})" if told else ""))
    if content.report["benchmarks"]:
        print(f"measured  {len(content.report['benchmarks'])} benchmarks")
    print(f"page      {output}, {output.stat().st_size / 1e6:.1f} MB")
    if cfg.open_browser and not webbrowser.open(output.resolve().as_uri()):
        print(f"browser   none was found: open {output} by hand")
    return output


def validate_run_dirs(cfg: DictConfig) -> list[Path]:
    """Return the folders to look into.

    Raises:
        ValueError: one is no folder, or a setting has a value of another type.
    """
    given = list(cfg.runs) if OmegaConf.is_list(cfg.runs) else [cfg.runs]
    if not given or not all(isinstance(each, str) and each for each in given):
        raise ValueError(f"runs is a folder or a list of folders, but runs={cfg.runs}: type runs=logs/sweep/<folder>")
    if not isinstance(cfg.open_browser, bool):
        raise ValueError(f"open is true or false, but open_browser={cfg.open_browser}: type open_browser=true")
    for folder in map(Path, given):
        if folder.is_file():
            raise ValueError(f"runs takes folders, but {folder} is a file: type runs={folder.parent}")
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}: {suggest_dir(folder)}")
    return [Path(each) for each in given]


def suggest_dir(folder: Path) -> str:
    """Return what to type instead of a folder that is not there."""
    # Beside a folder of the project itself lie no runs.
    known = folder.parent != Path() and folder.parent.is_dir()
    beside = [each for each in folder.parent.glob("*") if each.is_dir()] if known else []
    newest = max(beside, key=lambda each: each.stat().st_mtime, default=None)
    return f"the newest beside it is {newest}" if newest else "type runs=logs, or the folder that a training printed"


def resolve_output_path(cfg: DictConfig, folders: list[Path]) -> Path:
    """Return the file to write, whose folder is made.

    Raises:
        ValueError: it is no file name, or the folder cannot be written to.
    """
    if not isinstance(cfg.output, str) or not cfg.output:
        raise ValueError(f"output is a file, but output={cfg.output}: type output=report.html")
    folder = folders[0] if len(folders) == 1 else Path("logs")
    output = folder / "report.html" if cfg.output == "auto" else Path(cfg.output)
    if output.is_dir():
        raise ValueError(f"output is a file, but {output} is a folder: type output={output / 'report.html'}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Writing is tried: permission bits do not tell of a read-only disk.
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"The page is written to {output.parent}, but that cannot be written to ({error.strerror}): "
            "type output=<a file elsewhere>"
        ) from error
    return output


if __name__ == "__main__":
    main()
