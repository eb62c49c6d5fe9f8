"""Train a model:  python -m firstlight.train model=bert trainer=mps"""

from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.record import record_run


@command("train")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train the model, and test the best checkpoint.

    Returns:
        The run directory, the status of the run, its metrics and its checkpoints.
    """
    validate_config(cfg)
    with record_run(cfg) as record:
        # Imported late, so that config errors are reported before torch is imported.
        from firstlight.build import build
        from firstlight.checkpoint.resolve import find_latest_checkpoint
        from firstlight.cli import summary
        from firstlight.distributed import ranks
        from firstlight.run.files import get_best_or_last_checkpoint, list_checkpoints
        from firstlight.trainer.loops import find_missing_hooks
        from firstlight.trial.resolve import resolve_measured_settings

        ranks.publish_run_dir(record.run_dir)
        checkpoint = find_latest_checkpoint(cfg.resume) if cfg.resume else None
        if lines := resolve_measured_settings(cfg):
            record.write_config(cfg)
        model, data, trainer = build(cfg, checkpoint)
        summary.record_and_print_header(cfg, model, data, trainer, record, lines)
        tested: dict[str, float] = {}
        with ranks.join_and_watch_ranks(trainer, cfg, record):
            trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
            metrics = summary.read_final_metrics(trainer, record.run_dir)
            if cfg.test and not find_missing_hooks(model, data, "test"):
                # Reload the weights even from last.ckpt, because `setup("test")` of a module may replace layers.
                tested_path = get_best_or_last_checkpoint(record.run_dir)
                trainer.test(model, data, ckpt_path=tested_path, weights_only=True, verbose=False)
                tested = summary.read_latest_metrics(trainer)
        summary.record_and_print_results(record, metrics | tested, tested)
    return {
        "run_dir": str(record.run_dir),
        "status": "finished",
        "metrics": metrics | tested,
        "checkpoints": list_checkpoints(record.run_dir),
    }


if __name__ == "__main__":
    main()
