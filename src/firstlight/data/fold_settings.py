"""The settings of k-fold cross-validation. Without heavy imports, so that they are checked before torch is imported."""

from firstlight.run.errors import ConfigError, Message, invalid_value


def validate_folds(num_folds: int | None, fold: int | None) -> None:
    """Check the number of folds and the index of the test fold.

    Args:
        num_folds: Number of folds; None: no cross-validation.
        fold: Index of the fold that is the test split, from 0.

    Raises:
        ConfigError: If the number is less than 2, or there is no such fold.
    """
    if num_folds is None:
        if fold is not None:
            fix = f"Use e.g. data.num_folds=5 data.fold={fold}."
            raise ConfigError(Message(f"data.fold={fold} requires data.num_folds. {fix}", "data.fold", fold, fix))
        return
    if num_folds < 2:
        fix = "Use e.g. data.num_folds=5, or data.num_folds=null for a single split."
        raise ConfigError(invalid_value("data.num_folds", num_folds, "an integer of at least 2", fix))
    if fold is None:
        folds = ",".join(map(str, range(num_folds))) if num_folds <= 20 else f"range(0,{num_folds})"
        fix = f"Use e.g. data.fold=0, or train on all folds with `make sweep` and 'data.fold={folds}'."
        raise ConfigError(Message(f"data.num_folds={num_folds} requires data.fold. {fix}", "data.fold", None, fix))
    if not 0 <= fold < num_folds:
        expected = f"an integer from 0 to {num_folds - 1} (data.num_folds={num_folds})"
        raise ConfigError(invalid_value("data.fold", fold, expected, "Use e.g. data.fold=0."))
