#!/usr/bin/env python
"""Django's command line, with the running embedded stack's environment where no database is named."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from config.embedded.state import borrow_environment

    borrow_environment(ROOT, sys.argv)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Lastgood can't start: {error}")


if __name__ == "__main__":
    main()
