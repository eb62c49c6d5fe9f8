"""Run quick tests with other versions of the dependencies, in an environment of their own. Requires uv.

`python .ci/legs.py oldest` installs the oldest versions that pyproject.toml allows. `python .ci/legs.py prerelease`
installs the locked versions, and the newest ones of `NEWEST`, including pre-releases.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from pyproject import get_required_lock_files, read_minimum_python, read_selected_extras  # noqa: E402

NEWEST = ["hydra-core", "omegaconf", "lightning", "wandb", "transformers"]
QUICK = "not slow and not exhaustive"
ENGINE = "tests/firstlight/"
LAUNCHERS = f"{ENGINE}sweep/launcher/test_launchers.py::test_"
RESUME = [f"{ENGINE}callbacks/test_last_checkpoint.py", f"{ENGINE}callbacks/test_resume_state.py"]
# The tests of each leg by marker expression. To save time, tests that depend on few packages are left out.
TESTS = {
    "oldest": {
        QUICK: [ENGINE + name for name in ("config", "cli", "sweep", "checkpoint", "logger")]
        + [ENGINE + name for name in ("run", "data", "model", "trainer", "export")]
        + RESUME
    },
    "prerelease": {
        QUICK: [ENGINE + name for name in ("config", "cli", "sweep", "checkpoint", "logger")] + RESUME,
        # The launcher plugins, which are older than Hydra 1.4.
        "slow": [
            f"{LAUNCHERS}joblib_runs_jobs_in_parallel_and_lists_failed_job",
            f"{LAUNCHERS}submitit_runs_jobs_without_slurm",
        ],
    },
}
# Hydra then raises an error for anything that it deprecates.
VARIABLES = {"oldest": {}, "prerelease": {"HYDRA_DEPRECATION_WARNINGS_AS_ERRORS": "1"}}


def run_uv(*arguments: str) -> str:
    """Run uv, and return its output."""
    return subprocess.run(["uv", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def create_environment(leg: str) -> Path:
    """Create the environment of a leg, and return its Python."""
    environment = ROOT / ".legs" / leg
    run_uv("venv", "--quiet", "--clear", "--python", read_minimum_python(), str(environment))
    python = environment / "bin/python"
    install = ["pip", "install", "--quiet", "--python", str(python)]
    if leg == "oldest":
        extras = [f"--extra={extra}" for extra in read_selected_extras()]
        options = ["--quiet", "--no-header", "--resolution", "lowest-direct", "--python", str(python)]
        requirements = environment / "requirements.txt"
        requirements.write_text(run_uv("pip", "compile", "pyproject.toml", *options, *extras))
        run_uv(*install, "-r", str(requirements))
    else:
        # The Optuna sweeper depends on Hydra, but `make setup` does not install Optuna.
        files = dict.fromkeys([*get_required_lock_files(), ROOT / "requirements/optuna.lock"])
        run_uv(*install, "--require-hashes", *(f"-r{file}" for file in files))
        upgrades = [f"--upgrade-package={name}" for name in NEWEST]
        run_uv(*install, "--prerelease=allow", *upgrades, *NEWEST)
    run_uv(*install, "--no-deps", "--editable", ".")
    return python


def run_tests(python: Path, leg: str, report_dir: Path) -> bool:
    """Run the tests of a leg, write one report for each call of pytest, and return True if all have passed."""
    parallel = ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder"]
    codes = []
    for number, (marker, paths) in enumerate(TESTS[leg].items()):
        command = [str(python), "-m", "pytest", *parallel, "-m", marker, f"--junitxml={report_dir / f'{number}.xml'}"]
        environment = {**os.environ, **VARIABLES[leg]}
        codes.append(subprocess.run([*command, *paths], cwd=ROOT, env=environment, check=False).returncode)
    return not any(codes)


def count_results(report_dir: Path) -> dict[str, Counter[str]]:
    """Return the numbers of passed, failed and skipped tests by directory, from the reports of pytest."""
    counts: dict[str, Counter[str]] = {}
    for file in sorted(report_dir.glob("*.xml")):
        for case in ET.parse(file).iter("testcase"):
            # A file that is skipped as a whole has no class name.
            module = case.get("classname") or case.get("name", "")
            directory = module.split(".test_")[0].replace(".", "/")
            outcomes = {"failure": "failed", "error": "failed", "skipped": "skipped"}
            outcome = next((outcomes[child.tag] for child in case if child.tag in outcomes), "passed")
            counts.setdefault(directory, Counter())[outcome] += 1
    return dict(sorted(counts.items()))


def print_tables(leg: str, python: Path, counts: dict[str, Counter[str]]) -> None:
    """Print the versions of the direct dependencies (oldest) or of `NEWEST`, and the results by directory."""
    direct = re.findall(r'"([A-Za-z][\w-]*)[><=]=', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = (
        direct if leg == "oldest" else [*NEWEST, *(name for name in direct if "launcher" in name), "submitit", "optuna"]
    )
    frozen = run_uv("pip", "freeze", "--quiet", "--python", str(python)).split()
    installed = dict(line.split("==") for line in frozen if "==" in line)
    print(f"\n{leg}\n{'package':32} version")
    for name in ["python", *sorted({*names} & {*installed})]:
        print(f"{name:32} {installed.get(name) or read_minimum_python()}")
    print(f"\n{leg}\n{'directory':32} passed failed skipped")
    for directory, count in [*counts.items(), ("total", sum(counts.values(), Counter()))]:
        print(f"{directory:32} {count['passed']:6} {count['failed']:6} {count['skipped']:7}")


def main(leg: str) -> int:
    """Run a leg, and return its exit code."""
    if shutil.which("uv") is None:
        print(f"{leg}: skipped, because uv is not installed")
        return 0
    start = time.monotonic()
    python = create_environment(leg)
    installed = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        passed = run_tests(python, leg, Path(directory))
        print_tables(leg, python, count_results(Path(directory)))
    print(f"{leg}: installed in {installed - start:.0f} s, tested in {time.monotonic() - installed:.0f} s")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
