"""Splits: disjoint, with some of each kind, and always the same."""

import os
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_one_sentence

from data import DataError, mads, ph2, splits

# Part of the lesson: the validation rows of seed 0, on every machine.
VALID_ROWS = [30, 39, 50, 53, 56, 57, 61, 62, 90, 100,
              113, 128, 133, 136, 146, 154, 161, 177, 181, 183]
DIAGNOSES = np.repeat(ph2.DIAGNOSES, [80, 80, 40])
# Every sequence of MADS with the number of its pictures.
SEQUENCES = {
    "HipHop": {"HipHop1": 47, "HipHop2": 58, "HipHop3": 52, "HipHop4": 67,
               "HipHop5": 58, "HipHop6": 57},
    "Jazz": {"Jazz1": 40, "Jazz2": 48, "Jazz3": 48, "Jazz4": 50,
             "Jazz5": 44, "Jazz6": 40},
    "Kata": {"F2": 39, "F3": 39, "F4": 27, "N2": 8, "N3": 39, "P3": 38},
    "Sports": {"Badminton": 23, "Tennis": 12, "Volleyball": 63},
    "Taichi": {"S1": 52, "S2": 53, "S3": 48, "S4": 53, "S5": 53, "S6": 36}}
# Part of the lab: the sequences of seed 0, on every machine.
VALID = {"HipHop2", "Jazz3", "N3", "S4", "Tennis"}
TEST = {"F2", "HipHop4", "Jazz6", "S2", "Volleyball"}
# Three cameras take turns, and the time goes on.
NAMES = sorted(
    mads.Shot(category, sequence, number % 3, 45 * (number // 3 + 1)).name
    for category, counts in SEQUENCES.items()
    for sequence, count in counts.items() for number in range(count))


# --- By diagnosis --------------------------------------------------------

def test_the_split_is_disjoint_stratified_and_always_the_same():
    folds = [splits.stratified_split(DIAGNOSES, seed=0, fold=fold)
             for fold in [None, 0, 1, 2, 3, 4]]
    for train, valid, test in folds:
        assert sorted([*train, *valid, *test]) == list(range(200))
        for rows, counts in [(train, [56, 56, 28]), (valid, [8, 8, 4]),
                             (test, [16, 16, 8])]:
            assert list(rows) == sorted(rows)
            assert [np.sum(DIAGNOSES[rows] == name)
                    for name in ph2.DIAGNOSES] == counts
    assert list(folds[0][1]) == VALID_ROWS
    # The folds test every row once.
    assert sorted(np.concatenate([test for *_, test in folds[1:]])) \
        == list(range(200))
    again = splits.stratified_split(DIAGNOSES, seed=0, fold=3)
    assert all(map(np.array_equal, again, folds[4]))
    other = splits.stratified_split(DIAGNOSES, seed=1)
    assert not np.array_equal(other[2], folds[0][2])


def test_a_split_of_too_few_images_says_so():
    with pytest.raises(DataError, match="cannot be split") as error:
        splits.stratified_split(np.array(["a", "a", "b"]), seed=0)
    assert_one_sentence(error.value)


# --- By sequence ---------------------------------------------------------

def split(names, seed=0):
    """The parts of mads.split, and what the names say."""
    shots = [mads.parse(name) for name in names]
    samples = SimpleNamespace(
        names=names, groups=np.array([shot.sequence for shot in shots]))
    return mads.split(samples, seed), shots


def sequences_of_a_good_split(names, seed=0):
    """All rows once, no sequence torn, every category in every part."""
    parts, shots = split(names, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
    assert all(sorted(part) == list(part) for part in parts)
    sequences = [{shots[row].sequence for row in part} for part in parts]
    assert sum(map(len, sequences)) == len(set.union(*sequences))
    for part in parts:
        assert {shots[row].category for row in part} == set(SEQUENCES)
    return sequences


@pytest.mark.parametrize("seed", range(10))
def test_the_split_tears_no_sequence_and_has_every_category(seed):
    assert len(NAMES) == 1192
    train, valid, test = sequences_of_a_good_split(NAMES, seed)
    assert (len(train), len(valid), len(test)) == (17, 5, 5)
    assert (valid, test) == (VALID, TEST) or seed
    # In another order of the rows, it is the same.
    names = list(np.random.default_rng(0).permutation(NAMES))
    assert sequences_of_a_good_split(names, seed) == [train, valid, test]


def test_a_split_of_too_few_sequences_says_so():
    few = [name for name in NAMES if name.split("_")[1] in
           sum((list(counts)[:3] for counts in SEQUENCES.values()), [])]
    with pytest.raises(DataError, match="15 groups of 5 kinds") as error:
        split(few)
    assert_one_sentence(error.value)
    for groups in (["one"], []):
        with pytest.raises(DataError, match="are too few"):
            splits.group_split(groups, groups, seed=0)


def test_a_split_takes_the_fractions_it_is_given():
    groups = np.repeat(np.arange(20), 3)
    parts = splits.group_split(groups, groups % 2, 0, valid=0.1, test=0.5)
    assert [len(part) for part in parts] == [24, 6, 30]


@pytest.mark.skipif("MADS_TABLE" not in os.environ,
                    reason="MADS_TABLE does not name the df.csv of MADS")
def test_the_real_names(tmp_path):
    shutil.copy(os.environ["MADS_TABLE"], tmp_path / "df.csv")
    names = sorted(mads.listed_names(tmp_path / "df.csv"))
    shots = [mads.parse(name) for name in names]
    assert len(names) == 1192
    assert Counter(shot.category for shot in shots) == mads.EXPECTED
    assert {category: Counter(
        shot.sequence for shot in shots if shot.category == category)
        for category in mads.EXPECTED} == SEQUENCES
    assert {shot.camera for shot in shots} == {0, 1, 2}
    assert {shot.frame % mads.STEP for shot in shots} == {0}
    assert sequences_of_a_good_split(names)[1:] == [VALID, TEST]


# --- What a name says ----------------------------------------------------

@pytest.mark.parametrize(("name", "shot"), [
    ("HipHop_HipHop1_C0_00180", ("HipHop", "HipHop1", 0, 180)),
    ("HipHop_HipHop1_C0_00180.png", ("HipHop", "HipHop1", 0, 180)),
    ("Sports_Badminton_C2_00045", ("Sports", "Badminton", 2, 45)),
    ("Kata_F4_C1_02250.png", ("Kata", "F4", 1, 2250)),
    ("Taichi_S12_C10_123456", ("Taichi", "S12", 10, 123456))])
def test_a_name_has_four_parts(name, shot):
    found = mads.parse(name)
    assert found == shot
    assert (found.sequence, found.frame) == (shot[1], shot[3])
    assert found.name == name.removesuffix(".png")


@pytest.mark.parametrize("name", [
    "", "IMD002", "HipHop_HipHop1_C0", "HipHop_HipHop1_00180",
    "HipHop_HipHop1_C0_00180.jpg", "HipHop_HipHop1_C0_00180.png.png",
    "._HipHop_HipHop1_C0_00180", "HipHop_HipHop1_Cx_00180",
    "HipHop_HipHop1_C0_0018O", "HipHop_C0_00180", "a\nb_c_C0_1",
    "HipHop_HipHop1_C0_00180\n", "Kata_F2_C٣_00045", "x" * 10**5])
def test_other_names_get_a_sentence(name):
    with pytest.raises(DataError, match="is not like HipHop") as error:
        mads.parse(name)
    assert_one_sentence(error.value)
