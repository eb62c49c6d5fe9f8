"""Freeze parameters until an epoch of the run."""

from typing import ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import SGD, Optimizer

from firstlight.config.switches import describe_unreached
from firstlight.model.freezing import find_parameters, set_eval_mode
from firstlight.model.optimizer import allow_clipping
from firstlight.run.errors import ConfigError

KEY = "callbacks.unfreezing.schedule"


# Not Lightning 2.6's BackboneFinetuning, which adds a parameter group to the optimizer at an epoch: a run that resumes
# after this epoch differs.
class UnfreezingSchedule(Callback):
    """Train each parameter from the first epoch whose patterns match it; parameters without a match always train.

    All parameters are in the optimizer from the start. A frozen parameter has no gradient, so that neither weight decay
    nor momentum changes it. Which parameters are frozen depends only on the epoch. As with `freeze`, a module
    whose parameters are all frozen is in eval mode, and parameters that `freeze` names stay frozen.

    Args:
        schedule: Epoch (from 0) -> patterns of parameter names (see fnmatch), such as "network.layer4.*".
    """

    switch: ClassVar[str] = "schedule"

    def __init__(self, schedule: dict[int, list[str]]) -> None:
        self.schedule = {epoch: schedule[epoch] for epoch in sorted(schedule)}
        # First epoch of each scheduled parameter, by name, and the mode of each module without a schedule.
        self.first_epochs: dict[str, int] = {}
        self.modes: dict[str, bool] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parameters of each epoch. The optimizer has been built by now.

        Raises:
            ConfigError: If a pattern matches no trainable parameter, or no parameter would be trained.
        """
        trainable = {name for name, param in pl_module.named_parameters() if param.requires_grad}
        self.modes = {name: module.training for name, module in pl_module.named_modules()}
        self.first_epochs = {}
        for epoch, patterns in self.schedule.items():
            for pattern in patterns:
                found = find_parameters(pl_module, KEY, [pattern], epoch) & trainable
                if not found:
                    raise ConfigError(
                        f"{KEY} has no effect on the parameters of {pattern}, because they are frozen throughout. "
                        "Remove the pattern, or unfreeze them with unfreeze=[<pattern>]."
                    )
                self.first_epochs = dict.fromkeys(found, epoch) | self.first_epochs
        if trainable and trainable == {name for name, epoch in self.first_epochs.items() if epoch > 0}:
            raise ConfigError(
                f"{KEY} freezes all parameters in epoch 0, so there is nothing to train. Add the last "
                f"layer, e.g. '{KEY}={{0:[network.fc.*],...}}'."
            )
        note = describe_unreached(KEY, self.schedule, trainer.max_epochs)
        if note and trainer.is_global_zero:
            print(note, flush=True)
        if any(self.first_epochs.values()):
            disable_fused_sgd(trainer.optimizers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze the parameters of the current epoch, in which a run may also resume."""
        self._apply(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreeze the parameters of this epoch."""
        if trainer.current_epoch in self.schedule:
            self._apply(pl_module, trainer.current_epoch)

    def _apply(self, module: LightningModule, epoch: int) -> None:
        parameters = dict(module.named_parameters())
        for name, first_epoch in self.first_epochs.items():
            parameters[name].requires_grad_(epoch >= first_epoch)
        for name, child in module.named_modules():
            child.training = self.modes.get(name, child.training)
        set_eval_mode(module, [name for name, first_epoch in self.first_epochs.items() if epoch < first_epoch])


def disable_fused_sgd(optimizers: list[Optimizer]) -> None:
    """Let SGD update parameters that get their first gradient after others; its fused kernel raises (torch 2.15)."""
    for optimizer in optimizers:
        if isinstance(optimizer, SGD):
            allow_clipping(optimizer)  # only a fused step can unscale gradients itself
            for group in optimizer.param_groups:
                group["fused"] = False
