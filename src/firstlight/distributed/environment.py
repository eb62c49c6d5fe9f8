"""The launcher that started the processes of a run."""

from typing import Any


def detect_cluster_environment() -> Any:
    """Return Lightning's cluster environment: torchrun, Slurm, or Lightning itself."""
    from lightning.fabric.plugins import environments

    classes = (environments.TorchElasticEnvironment, environments.SLURMEnvironment)  # type: ignore[attr-defined]
    return next((cls() for cls in classes if cls.detect()), environments.LightningEnvironment())  # type: ignore[attr-defined]
