"""How long a one-to-one assignment takes, of made-up lines that all hang together.

    python -m bench._assign LINES SPREAD [--memory]

Each line has ten candidates, drawn from SPREAD records from twice its own number on, so that it
competes with its neighbours; equal ones count once. `--memory` traces it, which is slow.
"""

import argparse
import sys
import time
import tracemalloc

import numpy as np

from aparella.workers.assignment import assign


def main() -> None:
    """Draw, assign, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("lines", type=int)
    parser.add_argument("spread", type=int)
    parser.add_argument("--memory", action="store_true")
    chosen = parser.parse_args()
    luck = np.random.default_rng(0)
    line = np.repeat(np.arange(chosen.lines), 10)
    target = (line * 2 + luck.integers(0, chosen.spread, len(line))) % (2 * chosen.lines)
    once = np.unique(line * 2 * chosen.lines + target, return_index=True)[1]
    line, target = line[once], target[once]
    weight = luck.random(len(line)) ** 3
    if chosen.memory:
        tracemalloc.start()
    begin = time.perf_counter()
    found = assign(line, target, weight)
    seconds = time.perf_counter() - begin
    sys.stdout.write(
        f"{chosen.lines:,} lines, {len(line):,} candidates: {seconds:.1f} s, {found.sum():,} chosen"
    )
    if chosen.memory:
        peak = tracemalloc.get_traced_memory()[1]
        sys.stdout.write(f", {peak / len(line):.0f} bytes a candidate")
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
