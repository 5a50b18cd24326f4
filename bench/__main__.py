"""Run every benchmark of this folder, or the one that is named."""

import argparse
import importlib
import sys
from pathlib import Path

from bench._pairs import Figure, table


def main() -> int:
    """Run, print one line a figure, and return 1 where a ratio misses its target."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("[!_]*.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names, help="the only one to run")
    chosen = parser.parse_args().name
    figures: list[Figure] = []
    for name in [chosen] if chosen else names:
        print(f"bench: {name} ...", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"bench.{name}").run()
    print("\n".join(table(figures)))
    return 0 if all(f.ok for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
