"""Splits into train, valid and test: stratified, or by group."""

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from data import DataError


def stratified_split(groups, seed, valid=0.1, test=0.2, fold=None):
    """Split rows so that every part has the same share of each group.

    groups: (N,) labels; valid, test: fractions of N, the rest is train;
    fold: for cross-validation, a number from 0 that chooses one of
    round(1 / test) test sets, which together hold every row once.
    Returns three sorted, disjoint arrays of row numbers: train, valid,
    test. The same seed gives the same rows on every machine.
    Raises DataError if a group is too small to be in all three parts.
    """
    groups = np.asarray(groups)
    n_valid, n_test = round(valid * len(groups)), round(test * len(groups))
    rows = np.arange(len(groups))
    try:
        if fold is None:
            rest, test_rows = train_test_split(
                rows, test_size=n_test, stratify=groups, random_state=seed)
        else:
            folds = StratifiedKFold(round(1 / test), shuffle=True,
                                    random_state=seed)
            rest, test_rows = list(folds.split(rows, groups))[fold]
        train_rows, valid_rows = train_test_split(
            rest, test_size=n_valid, stratify=groups[rest],
            random_state=seed)
    except ValueError as error:
        raise DataError(f"{len(groups)} rows cannot be split by group into "
                        f"train, valid and test ({error}); use more images "
                        "of each group.") from error
    return np.sort(train_rows), np.sort(valid_rows), np.sort(test_rows)


def group_split(groups, kinds, seed, valid=0.2, test=0.2):
    """Split rows so that no group is torn, and all parts have each kind.

    groups: (N,) labels of rows that belong together, such as the pictures
    of one sequence; kinds: (N,) labels, the same for all rows of a group;
    valid, test: fractions of the number of groups, the rest is train.
    Returns three sorted, disjoint arrays of row numbers: train, valid,
    test. The same seed gives the same rows on every machine.
    Raises DataError if there are too few groups of a kind.
    """
    # Not StratifiedGroupKFold: its rows differ between scikit-learn 1.6
    # and 1.9. Not GroupShuffleSplit: its parts may lack a kind.
    labels, first = np.unique(groups, return_index=True)
    try:
        parts = stratified_split(np.asarray(kinds)[first], seed, valid, test)
    except DataError as error:
        raise DataError(f"{len(labels)} groups of {len(np.unique(kinds))} "
                        "kinds are too few to have one of each kind in "
                        "train, valid and test; use more groups of each "
                        "kind, or larger parts.") from error
    return tuple(np.flatnonzero(np.isin(groups, labels[part]))
                 for part in parts)
