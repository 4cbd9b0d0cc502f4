"""The embedded handwritten digits, with which a first pipeline trains without a download.

1,797 handwritten digits of 8 x 8 pixels with values 0 to 16, in ten classes: the test part of
"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/).

The copy in scikit-learn 1 (`load_digits`) was stored as uint8, shuffled with
`numpy.random.default_rng(0).permutation(1797)` and split, in that order and stratified by class
(largest remainders), into 1,437 training and 360 test examples.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from workers.data import files
from workers.data.dataset import Dataset

PATH = Path(__file__).with_name("digits.npz")
MD5 = "cdb38f8fc80bd305aff18fe7a6f19062"
_BRIGHTEST = 16


def load() -> Dataset:
    """The digits: `(n, 8, 8)` uint8 with values 0 to 16."""
    return replace(files.load(PATH), scale=1 / _BRIGHTEST, notes=())
