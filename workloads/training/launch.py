"""torchrun that says how its workers ended: `python -m workloads.training.launch [torchrun's options] -m ...`.

torchrun ends with 1 whatever happened, so a pod's exit code could not tell a preemption, which asks to be run again,
from a fault. This one ends with the workers' own code where those that failed agree on it (75 and 76: stopped by a
notice; a TrainingError's code), and with 75 after a SIGTERM of its own. Otherwise it is torchrun, option for option.

It also waits for its workers as long as they may take: half of $TRAINING_GRACE_S, where torchrun kills them after 30 s.
An elastic gang meets at a store that its first node hosts. When that node is lost, torchrun ends on all of them; this
one waits for the node to come back, as long as it would for any to join (--rdzv-conf join_timeout=...).

And each world of ranks gets a store of its own. torchrun 2.13 shares one among all restarts, where ranks find the
addresses of those that died before them: after a SIGKILL four of five restarts failed, some of them for ever.
https://github.com/pytorch/pytorch/issues/135712
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousConnectionError
from torch.distributed.elastic.rendezvous.utils import _parse_rendezvous_config
from torch.distributed.run import get_args_parser, parse_args, run

from workloads.training.errors import STOPPED
from workloads.training.preemption import DEFAULT_GRACE_S, GRACE_VARIABLE, INTERRUPTED, PREEMPTED, UNSAVED, grace

__all__ = ["get_args_parser", "main"]

JOIN_TIMEOUT_S = 600.0
"""torchrun's own, where --rdzv-conf says nothing (RendezvousTimeout)."""
AGAIN_S = 1.0
ATTEMPT_S = 90.0
"""An attempt that lasted longer had found the store: connecting to one is given up after a minute (read_timeout)."""


def main(arguments: Sequence[str] | None = None) -> int:
    wait_s = math.ceil(grace(os.environ.get(GRACE_VARIABLE, str(DEFAULT_GRACE_S))) / 2)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(wait_s))
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    try:
        _run(parse_args(list(sys.argv[1:] if arguments is None else arguments)))
    except SignalException as error:
        print(f"launch: {error}: the workers were told and have left", file=sys.stderr, flush=True)
        return STOPPED
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        print(error, file=sys.stderr, flush=True)
        return code_of(codes)
    return 0


def _run(options: argparse.Namespace) -> None:
    """torchrun, and again while the store that the gang meets at is away."""
    patience_s = float(_parse_rendezvous_config(options.rdzv_conf).get("join_timeout", JOIN_TIMEOUT_S))
    away_since = None
    while True:
        began = time.monotonic()
        try:
            return run(options)
        except RendezvousConnectionError:
            now = time.monotonic()
            if away_since is None or now - began > ATTEMPT_S:
                away_since = now
            if now - away_since > patience_s:
                raise
            print("launch: the store that the gang meets at is away; waiting for it", file=sys.stderr, flush=True)
            time.sleep(AGAIN_S)


def code_of(codes: set[int]) -> int:
    """One code for the codes of all workers that failed."""
    if codes <= {PREEMPTED, UNSAVED}:
        return max(codes, default=1)
    if INTERRUPTED in codes:
        return INTERRUPTED
    # What the rest says is what came of the first one's end: a lost connection is a 1, a kill a negative number.
    own = {code for code in codes if code > 1 and code not in (PREEMPTED, UNSAVED)}
    return own.pop() if len(own) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
