"""Make the dataloaders of any LightningDataModule resumable inside an epoch, and shard them for several devices."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader, rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils._pytree import tree_leaves
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from firstlight.data.dataloader import get_resume_position, init_worker, make_resumable_class, prepare_workers
from firstlight.data.eval_shard import EvalShardBatchSampler, EvalShardSampler
from firstlight.data.sampler import OverfitSampler, ResumableSampler, SequentialResumableSampler, ShuffleSampler
from firstlight.data.seeded_dataset import SeededDataset
from firstlight.data.seeding import derive_seed

HOOKS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")


def make_dataloaders_resumable(owner: LightningDataModule | LightningModule, trainer: Trainer, seed: int) -> None:
    """Wrap the dataloader hooks, so that the loaders that they return are resumable and sharded.

    Args:
        owner: The datamodule, or a module with dataloaders of its own.
        trainer: Trainer of the run.
        seed: Seed of the run.
    """
    for name in HOOKS:
        if is_overridden(name, owner):
            # A partial, because a DataLoader worker may receive a pickled copy of the owner.
            hook = functools.partial(load_and_adapt, getattr(owner, name), name == "train_dataloader", trainer, seed)
            setattr(owner, name, hook)


def load_and_adapt(hook: Callable[[], Any], is_training: bool, trainer: Trainer, seed: int) -> Any:
    """Return what a dataloader hook returns, with each loader adapted in place."""
    loaders = hook()
    for position, loader in enumerate(iter_dataloaders(loaders)):
        if isinstance(loader, DataLoader):
            prepare_workers(loader.num_workers, loader.dataset)
            ignore_stop_signals_in_workers(loader)
        if is_training:
            # Several loaders are shuffled independently.
            adapt_train_loader(loader, trainer, derive_seed(seed, position) if position else seed)
        elif is_standard(loader):
            adapt_eval_loader(loader, trainer, seed)
    return loaders


def ignore_stop_signals_in_workers(loader: Any) -> None:
    """Let the workers of a loader survive the signals that stop a run, so that its step can finish."""
    if getattr(loader.worker_init_fn, "func", None) is not init_worker_with:
        loader.worker_init_fn = functools.partial(init_worker_with, loader.worker_init_fn)


def iter_dataloaders(loaders: Any) -> Iterator[Any]:
    """Yield each loader of what a dataloader hook returns: a loader, or nested lists and mappings of loaders."""
    for leaf in tree_leaves(loaders):
        yield from leaf.flattened if isinstance(leaf, CombinedLoader) else [leaf]


def is_standard(loader: Any) -> bool:
    """Return True if a loader reads a map-style dataset with PyTorch's own samplers, in order or shuffled."""
    return (
        isinstance(loader, DataLoader)
        and not hasattr(loader, "state_dict")  # torchdata restores its loaders itself
        and not isinstance(loader.dataset, IterableDataset)
        and type(loader.batch_sampler) is BatchSampler
        and loader.batch_sampler.sampler is loader.sampler  # not a batch sampler of the user
        and loader.batch_size is not None
        and (
            type(loader.sampler) is SequentialSampler
            or (type(loader.sampler) is RandomSampler and not loader.sampler.replacement and has_all_samples(loader))
        )
    )


def has_all_samples(loader: Any) -> bool:
    """Return True if an epoch of a loader has each sample once."""
    return len(loader.sampler) == len(loader.dataset)


def adapt_train_loader(loader: Any, trainer: Trainer, seed: int) -> None:
    """Let a training loader yield the remaining batches of an epoch, each sample seeded by epoch and index.

    A loader with a state is restored by Lightning. Any other loader stays as it is, and a message says so.
    """
    if hasattr(loader, "state_dict"):
        return  # It is restored with its state, or it has been adapted: a hook may return the same loader again.
    if not is_standard(loader):
        print_resume_note(loader)
        return
    kind = ShuffleSampler if type(loader.sampler) is RandomSampler else SequentialResumableSampler
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        kind = OverfitSampler  # not shuffled
    sampler: ResumableSampler = kind(
        len(loader.dataset), loader.batch_size, seed, trainer.global_rank, trainer.world_size
    )
    adapt_in_place(loader, sampler, BatchSampler(sampler, loader.batch_size, loader.drop_last), seed)
    vars(loader)["dataset"] = SeededDataset(loader.dataset, seed)
    loader.__class__ = make_resumable_class(cast(Any, type(loader)))
    loader.resume_position = functools.partial(get_resume_position, trainer)


def adapt_eval_loader(loader: Any, trainer: Trainer, seed: int) -> None:
    """Give each device its own samples of an evaluation split, none of them twice."""
    if trainer.world_size == 1 or len(loader.dataset) < trainer.world_size:
        # A split with fewer samples than devices is evaluated completely on each of them.
        sampler, batch_sampler = loader.sampler, loader.batch_sampler
    else:
        sampler = EvalShardSampler(len(loader.dataset), trainer.global_rank, trainer.world_size)
        batch_sampler = EvalShardBatchSampler(sampler, loader.batch_size)
    adapt_in_place(loader, sampler, batch_sampler, seed)


def adapt_in_place(loader: Any, sampler: Any, batch_sampler: Any, seed: int) -> None:
    """Replace the samplers of a loader, whose class may have any constructor, and give it RNGs of its own."""
    # DataLoader rejects assignments to these attributes, because they would not reach its worker processes. There are
    # none yet.
    vars(loader)["sampler"], vars(loader)["batch_sampler"] = sampler, batch_sampler
    # A separate generator, so that creating an iterator does not change the random numbers of the training.
    loader.generator = loader.generator or torch.Generator().manual_seed(seed)


def init_worker_with(user_init: Callable[[int], None] | None, worker_id: int) -> None:
    """Initialize a DataLoader worker as the engine does, then as the user's `worker_init_fn` does."""
    init_worker(worker_id)
    if user_init is not None:
        user_init(worker_id)


@rank_zero_only
def print_resume_note(loader: Iterable[Any]) -> None:
    """Print how a run with this training loader resumes inside an epoch."""
    dataset: Any = getattr(loader, "dataset", loader)
    sampler: Any = getattr(loader, "sampler", None)
    batch_sampler: Any = getattr(loader, "batch_sampler", None)
    if batch_sampler is not None and type(batch_sampler) is not BatchSampler:
        sampler = batch_sampler
    is_custom = sampler is not None and not isinstance(dataset, IterableDataset)
    custom = f" with {type(sampler).__name__}" if is_custom else ""
    print(f"{'resume':<8}  {type(dataset).__name__}{custom}: resuming inside an epoch repeats its first batches")
