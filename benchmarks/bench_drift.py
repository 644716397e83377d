"""Drift of 20 columns and 10,000 rows: what it costs against evidently, how often it is wrong, what it finds.

Claims: KS, PSI, Wasserstein's distance and MMD with 200 permutations together need at most a tenth of the CPU that
evidently's KS alone needs in the same run, or 0.3 CPU seconds where evidently is not installed; of the columns that are
said to have drifted at most 5 % have not, whether some others have or none, and also if only the p-values decide.

evidently has an environment of its own: 0.4.40, which was tried, does not import beside NumPy 2. To make one:

    uv venv /tmp/evidently && uv pip install --python /tmp/evidently/bin/python evidently==0.4.40 "numpy<2" "pandas<2.3"

Run: `.venv/bin/python benchmarks/bench_drift.py --evidently /tmp/evidently/bin/python` (two minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

# One thread, as evidently has: of several, those that wait for each other are counted too.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from workloads.monitoring.drift import EMBEDDING, DriftPolicy, drift

COLUMNS, ROWS = 20, 10_000
TURNS, ROUNDS = 4, 10
SIMULATIONS, SIMULATED_ROWS = 400, 1_000
ONLY_P = DriftPolicy(ks=0, psi=0, wasserstein=0, mmd=0, missing=0)

EVIDENTLY = f"""
import json, time, warnings
import numpy, pandas
warnings.filterwarnings("ignore")
from evidently.calculations.stattests import ks_stat_test
from evidently.metrics import DataDriftTable
from evidently.report import Report

random = numpy.random.default_rng(1)
names = [f"c{{i}}" for i in range({COLUMNS})]
sides = [pandas.DataFrame(random.normal(size=({ROWS}, {COLUMNS})), columns=names) for _ in range(2)]
report, bare = [], []
for _ in range({ROUNDS}):
    start = time.process_time()
    made = Report([DataDriftTable(stattest="ks")])
    made.run(reference_data=sides[0], current_data=sides[1])
    found = made.as_dict()
    report.append(time.process_time() - start)
    start = time.process_time()
    for name in names:
        ks_stat_test.func(sides[0][name], sides[1][name], "num", 0.05)
    bare.append(time.process_time() - start)
assert found["metrics"][0]["result"]["number_of_columns"] == {COLUMNS}
print(json.dumps([min(report), min(bare)]))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--evidently", metavar="PYTHON", type=Path, help="interpreter that has it")
    python = options.parse_args().evidently
    # In turns, and the best of each: whatever else the machine does only adds.
    turns = [(evidently(python), cost()) for _ in range(TURNS)]
    ours = min(turn[1] for turn in turns)
    theirs = [min(each) for each in zip(*(turn[0] for turn in turns if turn[0]), strict=True)]
    rows: list[list[object]] = [["KS, PSI, Wasserstein and MMD", 1000 * ours, 1.0]]
    if theirs:
        rows += [
            ["evidently, a report of KS alone", 1000 * theirs[0], theirs[0] / ours],
            ["evidently's KS function, without its report", 1000 * theirs[1], theirs[1] / ours],
        ]
    table([f"{COLUMNS} columns, {ROWS:,} rows", "CPU ms", "times ours"], rows)

    settings = [(name, policy, shifted) for name, policy in POLICIES.items() for shifted in (0, 5)]
    wrong = [(*false_discoveries(policy, shifted), name, shifted) for name, policy, shifted in settings]
    table(
        [f"{SIMULATIONS} simulations of {SIMULATED_ROWS:,} rows", "shifted", "false of discovered, %", "found, %"],
        [[name, shifted, 100 * rate, 100 * found if shifted else "-"] for rate, found, name, shifted in wrong],
    )
    table(
        ["columns found, %, of a shift of", "0.1 sigma", "0.3 sigma", "0.5 sigma"],
        [
            [f"{name}, {rows:,} rows", *(100 * power(policy, shift, rows) for shift in (0.1, 0.3, 0.5))]
            for name, policy in POLICIES.items()
            for rows in (SIMULATED_ROWS, ROWS)
        ],
    )
    if theirs:
        verdict("CPU / evidently's KS alone", ours / theirs[0], 0.1)
    else:
        verdict("CPU seconds (no evidently to compare with)", ours, 0.3)
    verdict("false discovery rate, %, the worst of these", 100 * max(rate for rate, *_ in wrong), 5.0)


POLICIES = {"effect and p-value": DriftPolicy(), "p-value alone": ONLY_P}


def evidently(python: Path | None) -> tuple[float, float] | None:
    """CPU seconds of its report with KS alone, and of its KS function alone; the best of several."""
    if python is None:
        return None
    found = subprocess.run([python, "-c", EVIDENTLY], stdout=subprocess.PIPE, text=True, check=True).stdout
    report, bare = json.loads(found.splitlines()[-1])
    return report, bare


def cost() -> float:
    random = np.random.default_rng(1)
    sides = [random.normal(size=(COLUMNS, ROWS)) for _ in range(2)]
    named = [{f"c{i}": values for i, values in enumerate(side)} for side in sides]
    embeddings = (sides[0].T, sides[1].T)
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        found = drift(*named, embeddings=embeddings, random=random)
        seconds.append(time.process_time() - start)
    assert len(found.columns) == COLUMNS + 1
    return min(seconds)


def false_discoveries(policy: DriftPolicy, shifted: int) -> tuple[float, float]:
    """Mean share of false ones among what is discovered (none is 0), and of the shifted that are found.

    Columns are correlated in pairs, as features of one text are. The embedding is of others, and never shifted.
    """
    random = np.random.default_rng(7)
    false, found = [], []
    for _ in range(SIMULATIONS):
        sides = [correlated(random) for _ in range(2)]
        sides[1][:shifted] += 0.5
        named = [{f"c{i}": values for i, values in enumerate(side)} for side in sides]
        embeddings = (random.normal(size=(SIMULATED_ROWS, 8)), random.normal(size=(SIMULATED_ROWS, 8)))
        said = drift(*named, policy, embeddings=embeddings, random=random).drifted
        right = sum(name != EMBEDDING and int(name[1:]) < shifted for name in said)
        false.append((len(said) - right) / max(1, len(said)))
        found.append(right / max(1, shifted))
    return float(np.mean(false)), float(np.mean(found))


def correlated(random: np.random.Generator) -> np.ndarray:
    rows = random.normal(size=(COLUMNS, SIMULATED_ROWS))
    rows[1::2] = 0.6 * rows[::2] + 0.8 * rows[1::2]
    return rows


def power(policy: DriftPolicy, shift: float, rows: int) -> float:
    """Share of columns found where half of them have moved so far."""
    random = np.random.default_rng(3)
    found, times = 0, 10
    for _ in range(times):
        sides = [random.normal(size=(COLUMNS, rows)) for _ in range(2)]
        sides[1][: COLUMNS // 2] += shift
        named = [{f"c{i}": values for i, values in enumerate(side)} for side in sides]
        found += sum(int(name[1:]) < COLUMNS // 2 for name in drift(*named, policy).drifted)
    return found / times / (COLUMNS // 2)


if __name__ == "__main__":
    main()
