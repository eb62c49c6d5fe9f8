"""Measure the speed of this machine, in training, evaluation and prediction:  python -m firstlight.benchmark"""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from firstlight.benchmark.workloads import Workload, make_workloads, validate_benchmark_config
from firstlight.cli.command import command
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.run.errors import TrainingError
from firstlight.run.json_output import update_result
from firstlight.run.output_path import validate_new_dir

if TYPE_CHECKING:
    from firstlight.benchmark.suite import BenchmarkSuite


@command("benchmark")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Measure each workload on each accelerator, with the Trainer and a plain loop; print, save and plot the results.

    Returns:
        The directory of the results, and the contents of benchmark.json.

    Raises:
        ConfigError: If the config is invalid.
        HardwareError: If an accelerator is not available.
        TrainingError: If a workload has failed; the others have been measured.
    """
    validate_benchmark_config(cfg)
    validate_new_dir(str(cfg.output_dir), "output_dir")
    workloads = make_workloads(cfg)
    errors = {workload.name: error for workload in workloads if (error := find_config_error(workload))}
    if len(errors) == len(workloads):
        raise next(iter(errors.values()))
    suite = measure_workloads(cfg, workloads, errors)
    results = {"output_dir": str(cfg.output_dir), **suite.finalize()}
    update_result(**results)
    if cfg.compare:
        from firstlight.benchmark.published import print_comparison

        print_comparison(results)
    if suite.failures:
        models = ", ".join(dict.fromkeys(failure["model"] for failure in suite.failures))
        raise TrainingError(f"Failed: {models}. The reasons are in the table above and in {cfg.output_dir}.")
    return results


def measure_workloads(cfg: DictConfig, workloads: list[Workload], errors: dict[str, Exception]) -> "BenchmarkSuite":
    """Measure the workloads on each accelerator, and return the suite with the results and failures.

    Args:
        cfg: Config of the benchmark.
        workloads: The workloads.
        errors: Errors in their configs by name; such a workload is a failure.

    Raises:
        HardwareError: If an accelerator is not available.
    """
    # Imported here so that configuration errors are reported before torch is imported.
    from firstlight.benchmark.suite import BenchmarkSuite
    from firstlight.hardware.accelerator import find_best_accelerator, validate_accelerator

    accelerators = list(dict.fromkeys(cfg.accelerators or ["cpu", find_best_accelerator()]))
    for accelerator in accelerators:
        validate_accelerator(accelerator, "32-true")
    has_plain_cpu_loop = accelerators == ["cpu"]  # otherwise, the CPU is only what the speed-up refers to
    suite = BenchmarkSuite(cfg.output_dir, cfg.min_seconds, cfg.max_seconds, cfg.repeats, has_plain_cpu_loop)
    for workload in workloads:
        for accelerator in accelerators:
            if workload.name in errors:
                suite.add_failure(workload.name, accelerator, None, errors[workload.name], cfg)
                continue
            train_cfg = compose_config("train", [*workload.overrides, f"trainer={accelerator}"])
            suite.measure(workload.name, train_cfg, list(cfg.phases), workload.published)
    return suite


def find_config_error(workload: Workload) -> Exception | None:
    """Return the error in the config of a workload, or None."""
    try:
        validate_config(compose_config("train", workload.overrides))
    except Exception as error:  # Hydra raises errors of many classes
        return error
    return None


if __name__ == "__main__":
    main()
