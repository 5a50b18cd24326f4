"""Run the fault campaign: `python -m bench.faults [--short] [--seed N] [--out FOLDER]`."""

import argparse
import json
import signal
import sys
from pathlib import Path
from time import monotonic

from bench.faults import campaign, controls, report


def main() -> int:
    """Run it and write the report; 0 if nothing was lost and every control failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute and a half")
    parser.add_argument("--seed", type=int, default=8, help="of the schedule (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), help="%(default)s")
    parser.add_argument("--controls", help="some of fencing,reconciler,transaction, or none")
    arguments = parser.parse_args()
    # So that what it has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begin, form = monotonic(), "short" if arguments.short else "full"
    plan = campaign.SHORT_PLAN if arguments.short else campaign.FULL_PLAN
    chosen = arguments.controls or ("fencing" if arguments.short else ",".join(controls.EVENTS))
    arguments.out.mkdir(parents=True, exist_ok=True)
    logs = arguments.out / "logs"
    result = campaign.run(plan, arguments.seed, logs)
    names = [] if chosen == "none" else chosen.split(",")
    result.facts["controls"] = {name: controls.run(name, logs) for name in names}
    seconds = monotonic() - begin
    document = report.document(result, seed=arguments.seed, form=form, seconds=seconds)
    (arguments.out / "report.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    words = report.text(document)
    (arguments.out / "report.txt").write_text(words, encoding="utf-8")
    print(words, end="")
    failed = all(control["failed"] for control in document["controls"].values())
    return 0 if report.passed(document) and failed else 1


if __name__ == "__main__":
    sys.exit(main())
