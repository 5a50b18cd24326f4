"""`python -m aparella.deploy`: the supervisor of a local stack that runs in the background."""

import argparse
import sys
from pathlib import Path

from aparella.client.exits import complain
from aparella.client.stack import say
from aparella.deploy import local
from aparella.errors import AparellaError


def main() -> int:
    """Run the stack until a signal ends it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    try:
        local.up(local.Options(arguments.data, arguments.workers, arguments.port), say)
    except AparellaError as error:
        complain(str(error), getattr(error, "__notes__", ()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
