"""The product's web application in a process that dies at a named point."""

import os

from config.wsgi import application
from tests.faults.points import Points, read_point

Points(read_point(os.environ.get("POINT", "")), os.environ["LEDGER"]).install()

__all__ = ["application"]
