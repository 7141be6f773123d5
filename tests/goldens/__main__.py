"""`python -m tests.goldens FOLDER [--case NAME]`: a row a case, exit 1 on a miss."""

import argparse
import sys
from pathlib import Path

from tests.goldens.harness import find_cases, run_case


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.goldens", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of CASE.json with CASE.npz")
    parser.add_argument("--case", action="append", help="run this case only (repeatable)")
    wanted = parser.parse_args()
    if not wanted.folder.is_dir():
        parser.error(f"{wanted.folder} is no folder")
    names = wanted.case or [None]
    absent = [name for name in names if not find_cases(wanted.folder, name)]
    if absent:
        parser.error(f"{wanted.folder} has no case {absent[0] or '(CASE.json with CASE.npz)'}")
    verdicts = []
    for file in (file for name in names for file in find_cases(wanted.folder, name)):
        verdicts.append(run_case(file))
        sys.stdout.write(verdicts[-1].row() + "\n")
        sys.stdout.flush()
    passed = sum(verdict.passed for verdict in verdicts)
    sys.stdout.write(f"{passed} of {len(verdicts)} cases pass\n")
    return 0 if passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
