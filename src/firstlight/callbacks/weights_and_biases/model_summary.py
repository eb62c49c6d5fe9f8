"""Log the layers of a model and their parameter counts to W&B."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary.model_summary import summarize

from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.optional import continue_on_failure


class WandbModelSummary(Callback):
    """Log the table "model/layers" (name, type, parameters), and the total parameter counts to the run summary.

    Args:
        depth: Depth of nested modules in the table.
    """

    def __init__(self, depth: int = 2) -> None:
        self.depth = depth

    @continue_on_failure("W&B model summary")
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the table and the counts."""
        if not (loggers := get_wandb_loggers(trainer)):
            return
        summary = summarize(pl_module, max_depth=self.depth)
        rows = list(zip(summary.layer_names, summary.layer_types, summary.param_nums, strict=True))
        for logger in loggers:
            logger.log_table("model/layers", columns=["name", "type", "parameters"], data=[list(row) for row in rows])
            logger.experiment.summary["model/parameters"] = summary.total_parameters
            logger.experiment.summary["model/trainable_parameters"] = summary.trainable_parameters
