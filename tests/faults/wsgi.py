"""The product's web application in a process that dies at a named point, or whose clock is CLOCK_OFFSET seconds off."""

import os

from config.wsgi import application
from tests.faults.points import Points, read_point
from tests.faults.program import set_clock

set_clock()
Points(read_point(os.environ.get("POINT", "")), os.environ["LEDGER"]).install()

__all__ = ["application"]
