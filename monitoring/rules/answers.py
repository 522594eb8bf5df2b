"""What a rule says at one moment, and how the values of a window come to one."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.rules.bins import Floats, Integers, highest, lowest, means, totals
from monitoring.rules.models import Reduce

REDUCE = {Reduce.MEAN: means, Reduce.SUM: totals, Reduce.LOW: lowest, Reduce.HIGH: highest}


class Condition(IntEnum):
    """The answer at one moment. Only CLEAR says that all is well."""

    NO_DATA = 0
    UNKNOWN = 1
    CLEAR = 2
    BETWEEN = 3
    BREACH = 4


class Judged(NamedTuple):
    """Of each moment: the value (NaN without data), the limits that it is held to (NaN without), the condition."""

    at: Integers
    value: Floats
    low: Floats
    high: Floats
    condition: NDArray[np.int8]
