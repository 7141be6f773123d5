"""`python -m benchmarks`: tests first, then figures; none over a red test."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

# read when torch is loaded: threads that spin would measure each other
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

ROOT = Path(__file__).resolve().parents[1]
GATE = ("tests/contracts/test_backends.py", "tests/goldens")


def main() -> int:
    """Run the gate, then the measurements."""
    gate = subprocess.run([sys.executable, "-m", "pytest", "-q", *GATE], cwd=ROOT, check=False)
    if gate.returncode:
        print("a test is red: no figure is measured.")
        return 1
    from benchmarks import scan, step
    from medssm.training.log_files import processor_name

    result = {
        "machine": {"processor": processor_name(), "cores": os.cpu_count(),
                    "load": os.getloadavg()[0], "python": platform.python_version()},
        "scan": scan.measure(),
        "step": step.measure(),
    }  # fmt: skip
    for row in [*result["scan"], *result["step"]]:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
    file = ROOT / "benchmarks" / "results" / "cpu.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
