"""A logger that is killed leaves a table that can be read and written, with each batch whole or not there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.workloads.monitoring.test_lakehouse import some
from tests.workloads.monitoring.traffic import MONDAY_S
from workloads.monitoring.lakehouse import Lake, local
from workloads.monitoring.retention import retain

WRITER = """
import sys
from pathlib import Path
from tests.workloads.monitoring.traffic import MONDAY_S, request
from workloads.monitoring.lakehouse import Lake, local
from workloads.monitoring.request_log import RequestLog

log = RequestLog(Lake(local(Path(sys.argv[1]))), batch=50, flush_s=0.01, queue=10**6)
for i in range(10**6):
    if i % 50 == 0:
        log.flush()
        print(i, flush=True)
    log.record(request(i, MONDAY_S + i / 1000, seed=int(sys.argv[2])))
"""


def test_a_killed_logger_leaves_whole_batches(tmp_path: Path) -> None:
    told = {}
    for seed, after_s in enumerate((0.0, 0.029)):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            # Whatever has been told to be flushed must be there.
            told[seed] = int(line)
            if told[seed] >= 150:
                break
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    lake = Lake(local(tmp_path))
    found = lake.read("requests", "lm", MONDAY_S, MONDAY_S + 1000)
    for seed, count in told.items():
        numbers = sorted(int(n) for s, _, n in (name.partition("-") for name in found["request_id"]) if int(s) == seed)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= count
    assert lake.append("requests", some(0, 10, MONDAY_S + 2000), "after")
    # What a killed writer left of its last batch goes, once it is old enough; what is in the table stays.
    retain(lake, days=10**4, now_s=time.time() + 1, grace_s=0)
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 1000)) == len(found)
