"""Regressors: a task with one number per sample, the squared error and the regression metrics."""

from typing import Any, ClassVar, TypedDict, Unpack

from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from firstlight.model.metrics import R2
from firstlight.model.task import Task
from firstlight.run.errors import ConfigError, DataError, invalid_value


class RegressorSettings(TypedDict):
    """Settings of all regressors. The dataset provides them.

    Attributes:
        target_name: Name of the target.
        target_mean: Mean of the training targets, in the unit of the target.
        target_std: Standard deviation of the training targets, in the unit of the target, greater than 0.
    """

    target_name: str
    target_mean: float
    target_std: float


class Regressor(Task):
    """Map inputs to one number, the standardized target. The loss is the mean squared error.

    The network learns (target - target_mean) / target_std. Metrics and predictions are in the unit of the target,
    except for the loss, which is in squared standard deviations.

    A subclass builds `self.network`, whose outputs have the shape (batch,) or (batch, 1).

    Args:
        settings: See `RegressorSettings`.

    Raises:
        DataError: If the standard deviation is not positive.
    """

    task: ClassVar[str] = "regression"

    def __init__(self, **settings: Unpack[RegressorSettings]) -> None:
        super().__init__()
        self.target_name = settings["target_name"]
        self.target_mean, self.target_std = settings["target_mean"], settings["target_std"]
        if not self.target_std > 0:
            raise DataError(invalid_value("target_std", self.target_std, "a positive number", "Use varying targets."))

    def loss(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the mean squared error of the standardized target, a scalar.

        Args:
            outputs: Standardized predictions, shape (batch,) or (batch, 1).
            batch: Its "labels" are the targets in their own unit, shape (batch,).
        """
        outputs = squeeze_outputs(outputs)
        return functional.mse_loss(outputs, self.standardize(batch["labels"]).to(outputs.dtype))

    def standardize(self, targets: Tensor) -> Tensor:
        """Return targets in standard deviations from their mean, any shape."""
        return (targets - self.target_mean) / self.target_std

    def to_target_unit(self, outputs: Tensor) -> Tensor:
        """Return outputs of the network as predictions in the unit of the target, shape (batch,)."""
        return squeeze_outputs(outputs).float() * self.target_std + self.target_mean

    def metrics(self) -> MetricCollection:
        """Return loss, MAE, RMSE and R2 (coefficient of determination)."""
        # Without compute_groups, which compare the states of the metrics on the host.
        return MetricCollection(
            {
                "loss": MeanSquaredError(),
                "mae": MeanAbsoluteError(),
                "rmse": MeanSquaredError(squared=False),
                "r2": R2(),
            },
            compute_groups=False,
        )

    def prepare_for_metrics(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardized predictions and targets: the sums of R2 would cancel if the mean is large."""
        return squeeze_outputs(outputs), self.standardize(labels.float())

    def finish_metrics(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return MAE and RMSE in the unit of the target."""
        return values | {name: values[name] * self.target_std for name in ("mae", "rmse")}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" of a batch and the "predictions" in the unit of the target, shape (batch,)."""
        return {"ids": batch["ids"], "predictions": self.to_target_unit(self(batch["inputs"]))}

    def format_predictions(self, predictions: dict[str, Tensor]) -> list[dict[str, str]]:
        """Return the prediction of each sample, in a column with the name of the target."""
        return [{self.target_name: f"{value:.6g}"} for value in predictions["predictions"].tolist()]


def squeeze_outputs(outputs: Tensor) -> Tensor:
    """Return the outputs of a regressor with the shape (batch,).

    Raises:
        ConfigError: If their shape is neither (batch,) nor (batch, 1).
    """
    if outputs.ndim != 1 and outputs.shape[1:] != (1,):
        raise ConfigError(
            f"A Regressor requires outputs of shape (batch,) or (batch, 1), got {tuple(outputs.shape)}. Use one output."
        )
    return outputs.reshape(-1)
