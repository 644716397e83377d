"""Looking at a canary after every request neither rolls healthy ones back nor finds bad ones late.

Claims:

- A healthy canary is rolled back in at most alpha of 10,000 simulated rollouts, for alpha 5 % and 1 %, though it is
  looked at after every request for an hour. (Evidence changes when both arms have been asked since it last did; a look
  in between sees what the last one saw.)
- Twice the errors are found after a median of at most 12 looks, five times after at most 2: 1 % base errors, alpha 5 %,
  a look a minute, 60 requests a minute to the candidate, which are 5 % of all. With as few to the baseline no test can
  do that: the table says what is possible (Wald's bound on the mean, for whoever knows both rates beforehand).
- A p99 latency that is 20 % longer is found: within 100 looks in at least 95 % of rollouts.
- Paired scoring needs at most a third of the samples that each of two separate arms needs. Simulated texts whose bits
  per byte correlate between the models by 0.75; and real ones: two n-gram models of bytes on this repository's texts.

The statistics are those of `workloads.rollout`, many rollouts at once; p99 goes through its histograms, and the last
table through `decide`, whole rollouts with all four guardrails.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_rollout.py [ROLLOUTS]` (two minutes of CPU).
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from workloads.rollout import evidence, sequential
from workloads.rollout.decide import decide
from workloads.rollout.observation import Arm, Observation, histogram
from workloads.rollout.spec import Spec, parse
from workloads.rollout.state import State

BASE, MINUTE, HOUR = 0.01, 60, 3600


# ---- gates: each sees what both arms did since it was last asked, of all rollouts, and says which it rolls back


class Ours:
    """The alarm of the errors guardrail."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self.alpha, self.capital = alpha, sequential.start(sequential.ODDS_WEIGHTS, rollouts)

    def __call__(self, hits: Any, requests: Any, base_hits: Any, base_requests: Any) -> Any:
        # Nobody's error says nothing: the capital would stay as it is.
        some = np.flatnonzero(hits + base_hits)
        counts = (each[some] for each in (hits, requests, base_hits, base_requests))
        self.capital[some] = sequential.conditional(self.capital[some], *counts, self.alpha)
        return sequential.log_e_value(self.capital) >= -math.log(self.alpha) - 1e-9


class ZTest:
    """A two-sample z-test of the totals, one-sided, again at each look."""

    def __init__(self, rollouts: int, alpha: float) -> None:
        self.limit = {0.05: 1.645, 0.01: 2.326}[alpha]
        self.totals = np.zeros((4, rollouts))

    def __call__(self, *counts: Any) -> Any:
        self.totals += counts
        hits, requests, base_hits, base_requests = self.totals
        pooled = (hits + base_hits) / (requests + base_requests)
        error = np.sqrt(pooled * (1 - pooled) * (1 / requests + 1 / base_requests)) + 1e-12
        # The normal approximation's usual condition; without it, it would be worse still.
        return ((hits / requests - base_hits / base_requests) / error > self.limit) & (hits >= 5)


class Threshold:
    """At least 99 % of the candidate's requests succeed, from its hundredth on."""

    def __init__(self, rollouts: int, alpha: float) -> None:  # noqa: ARG002
        self.totals = np.zeros((2, rollouts))

    def __call__(self, hits: Any, requests: Any, *_: Any) -> Any:
        self.totals += hits, requests
        return (self.totals[0] > 0.01 * self.totals[1]) & (self.totals[1] >= 100)


def every_request(rollouts: int, gates: list[Any], share: float, rng: np.random.Generator) -> list[float]:
    """The share of healthy rollouts that each gate rolls back within an hour of 60 candidate requests a minute.

    Goes from one moment at which both arms have been asked to the next.
    """
    caught = np.zeros((len(gates), rollouts), bool)
    asked = 0
    while asked < HOUR:
        first = rng.random(rollouts) < share
        # Of the arm that was asked first, as often as it was until the other one is.
        requests = np.where(first, rng.geometric(1 - share, rollouts), 1)
        base_requests = np.where(first, 1, rng.geometric(share, rollouts))
        counts = rng.binomial(requests, BASE), requests, rng.binomial(base_requests, BASE), base_requests
        for gate, found in zip(gates, caught, strict=True):
            found |= gate(*counts)
        asked += int(requests.mean() + rng.random())
    return [float(found.mean()) for found in caught]


def looks(gate: Any, rollouts: int, rates: tuple[float, float], base: int, most: int, rng: np.random.Generator) -> Any:
    """At which look each rollout is rolled back; infinite where at none. A look a minute."""
    found = np.full(rollouts, np.inf)
    requests, base_requests = np.full(rollouts, MINUTE), np.full(rollouts, base)
    for look in range(1, most + 1):
        hits, base_hits = rng.binomial(requests, rates[0]), rng.binomial(base_requests, rates[1])
        found[np.isinf(found) & gate(hits, requests, base_hits, base_requests)] = look
        if np.isfinite(found).mean() > 0.75:
            break
    return found


def wald(times: float, base: int, alpha: float) -> float:
    """Mean looks of the best test there is: log(1/alpha) over what a look tells, of errors that fall to either arm."""
    share, odds = MINUTE / (MINUTE + base), times * MINUTE / (times * MINUTE + base)
    told = odds * math.log(odds / share) + (1 - odds) * math.log((1 - odds) / (1 - share))
    return math.log(1 / alpha) / (told * BASE * (times * MINUTE + base))


def slow_p99(rollouts: int, base: int, alpha: float, slower: float, most: int, rng: np.random.Generator) -> list[float]:
    """Looks until a slower candidate is found by the p99 guardrail alone; log-normal latencies of sigma 0.5."""
    spec = specification({"p99_latency": {"margin": 0.1, "alpha": alpha}})
    found = []
    for _ in range(rollouts):
        known: Any = evidence.begin(spec)
        known = evidence.learn_baseline(known, arm(5 * (base + MINUTE), 0.0, 1.0, rng))
        look = 0
        while look < most and not evidence.verdict(spec, known).worse:
            look += 1
            known = evidence.learn(spec, known, arm(base, 0, 1.0, rng), arm(MINUTE, 0, slower, rng), ())
        found.append(float(look) if evidence.verdict(spec, known).worse else math.inf)
    return found


def arm(requests: int, errors: float, slower: float, rng: np.random.Generator) -> Arm:
    failed = int(rng.binomial(requests, errors))
    return Arm(requests, failed, histogram(rng.lognormal(-2.5, 0.5, requests - failed) * slower))


# ---- quality


def samples(differences: Any, alpha: float) -> float:
    """Median count of differences until the quality guardrail's alarm; rollouts x differences."""
    rollouts, most = differences.shape
    capital = sequential.start(sequential.EFFECT_WEIGHTS, rollouts)
    squares, found = np.zeros(rollouts), np.full(rollouts, np.inf)
    for index in range(most):
        if index >= evidence.FIRST_PAIRS:
            capital = sequential.symmetric(capital, differences[:, index], np.sqrt(squares / index))
            found[np.isinf(found) & (sequential.log_e_value(capital) >= -math.log(alpha))] = index + 1
            if np.isfinite(found).mean() > 0.55:
                break
        squares += differences[:, index] ** 2
    return float(np.median(found))


def simulated_texts(rollouts: int, correlation: float, rng: np.random.Generator) -> tuple[float, float]:
    """Medians of pairs, and of samples in each of two arms: 0.02 bits per byte worse, of texts that differ by 0.25."""
    most, worse, spread = 20_000, 0.02, 0.25
    paired = samples(rng.normal(worse, spread * math.sqrt(2 - 2 * correlation), (rollouts, most)), 0.05)
    return paired, samples(rng.normal(worse, spread * math.sqrt(2), (rollouts, most)), 0.05)


def real_texts(rollouts: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Likewise, of real texts: correlation, difference, medians. The candidate has seen a third of what is learnt."""
    texts = [path.read_bytes() for path in sorted(ROOT.glob("workloads/**/*.py"))]
    train, test = b"".join(texts[::2]), b"".join(texts[1::2])
    pieces = [test[start : start + 256] for start in range(0, len(test) - 256, 256)]
    baseline = bits_per_byte(train, pieces)
    candidate = bits_per_byte(train[: len(train) // 3], pieces)
    paired = rng.integers(len(pieces), size=(rollouts, 5000))
    apart = rng.integers(len(pieces), size=(rollouts, 5000))
    return (
        float(np.corrcoef(baseline, candidate)[0, 1]),
        float((candidate - baseline).mean()),
        samples(candidate[paired] - baseline[paired], 0.05),
        samples(candidate[apart] - baseline[paired], 0.05),
    )


def bits_per_byte(train: bytes, pieces: list[bytes]) -> Any:
    """Of each piece, under a model that mixes how often a byte followed the last two, one and none."""
    seen = np.frombuffer(train, np.uint8).astype(np.int64)
    counts = [np.ones(256), np.zeros(256**2), np.zeros(256**3, np.float32)]
    for order, table_ in enumerate(counts):
        keys = sum(seen[back : len(seen) - order + back] * 256 ** (order - back) for back in range(order + 1))
        np.add.at(table_, keys, 1)
    totals = [table_.reshape(-1, 256).sum(1) for table_ in counts]
    found = []
    for piece in pieces:
        text = np.frombuffer(piece, np.uint8).astype(np.int64)
        last, before, byte = text[1:-1], text[:-2], text[2:]
        chance = counts[0][byte] / totals[0][0]
        for table_, total, context in ((counts[1], totals[1], last), (counts[2], totals[2], before * 256 + last)):
            # Additive smoothing towards the shorter context.
            chance = (table_[context * 256 + byte] + 4 * chance) / (total[context] + 4)
        found.append(float(-np.log2(chance).mean()))
    return np.array(found)


# ---- whole rollouts


def specification(guardrails: dict[str, Any] | None = None) -> Spec:
    names = ("errors", "p50_latency", "p99_latency", "quality")
    margins = {"errors": 0.0075, "p50_latency": 0.1, "p99_latency": 0.25, "quality": 0.05}
    return parse(
        {
            "name": "bench",
            "baseline": "model:1",
            "candidate": "model:2",
            "strategy": "canary",
            "steps": [{"percent": 5}, {"percent": 25}, {"percent": 50}],
            "mirror_percent": 10,
            "guardrails": guardrails or {name: {"margin": margins[name], "alpha": 0.0125} for name in names},
            "on_inconclusive": "hold",
        }
    )


def whole(rollouts: int, rng: np.random.Generator, errors: float, slower: float, worse: float) -> list[Any]:
    """How each rollout ended, and after how many looks with traffic."""
    spec, ends = specification(), []
    for _ in range(rollouts):
        state, traffic = State(), 0
        for look in range(120):
            candidate = int(rng.binomial(1200, state.weight))
            base = rng.normal(2.0, 0.25, 30 if state.mirror else 0)
            other = base + rng.normal(worse, 0.1, len(base))
            observation = Observation(
                at=60.0 * look,
                baseline=arm(1200 - candidate, BASE, 1.0, rng),
                candidate=arm(candidate, errors, slower, rng),
                pairs=tuple(zip(base.tolist(), other.tolist(), strict=True)),
                candidate_ready=look > 2,
            )
            traffic += bool(state.weight)
            state = decide(spec, state, observation).state
            if state.final:
                break
        ends.append((str(state.phase), state.reason, traffic))
    return ends


def main(rollouts: int) -> None:
    rng = np.random.default_rng(2026)
    false: dict[float, float] = {0.05: 0.0, 0.01: 0.0}
    rows = []
    for share, split in ((0.5, "equal arms"), (0.05, "5 % canary")):
        gates = [(kind, alpha) for alpha in false for kind in (Ours, ZTest)] + [(Threshold, 0.05)]
        found = every_request(rollouts, [kind(rollouts, alpha) for kind, alpha in gates], share, rng)
        of = dict(zip(gates, found, strict=True))
        for alpha in false:
            false[alpha] = max(false[alpha], of[Ours, alpha])
            shown = (of[kind, alpha] for kind in (Ours, ZTest))
            rows.append((split, f"{alpha:.0%}", *(f"{100 * each:.2f} %" for each in (*shown, of[Threshold, 0.05]))))
    print(f"Healthy canaries rolled back, of {rollouts:,}; a look after every request for an hour")
    table(("traffic", "alpha", "ours", "repeated z-test", "static 99 %"), rows)

    medians: dict[float, float] = {}
    rows = []
    for base, split in ((19 * MINUTE, "5 % canary"), (MINUTE, "equal arms")):
        for alpha in false:
            for times in (2.0, 5.0):
                gate = Ours(rollouts, alpha)
                median = float(np.median(looks(gate, rollouts, (times * BASE, BASE), base, 150, rng)))
                rows.append((split, f"{alpha:.0%}", f"{times:g} x", f"{median:g}", wald(times, base, alpha)))
                if base != MINUTE and alpha == 0.05:
                    medians[times] = median
    print("Errors: median looks until found; a look a minute, 60 requests of the candidate in each")
    table(("traffic", "alpha", "errors", "ours", "Wald's bound (mean)"), rows)

    rows, p99 = [], {}
    for base, split in ((19 * MINUTE, "5 % canary"), (MINUTE, "equal arms")):
        slow = slow_p99(100, base, 0.05, 1.2, 100, rng)
        fine = slow_p99(100, base, 0.05, 1.0, 40, rng)
        p99[split] = float(np.isfinite(slow).mean())
        rows.append((split, f"{p99[split]:.0%}", f"{np.median(slow):g}", f"{np.isfinite(fine).mean():.0%}"))
    print("p99 latency 20 % longer, 100 rollouts, alpha 5 %; healthy ones for 40 looks")
    table(("traffic", "found within 100 looks", "median looks", "healthy rolled back"), rows)

    rows, ratios = [], {}
    for correlation in (0.75, 0.9):
        paired, apart = simulated_texts(300, correlation, rng)
        ratios[correlation] = paired / apart
        rows.append((f"simulated, correlation {correlation}", "0.020", f"{paired:g}", f"{apart:g}", paired / apart))
    correlation, worse, paired, apart = real_texts(300, rng)
    rows.append((f"real, correlation {correlation:.2f}", f"{worse:.3f}", f"{paired:g}", f"{apart:g}", paired / apart))
    print("Quality: median samples until a worse candidate is found, alpha 5 %")
    table(("texts", "bits per byte worse", "pairs", "in each of two arms", "ratio"), rows)

    rows = []
    for name, count, how in (
        ("healthy", 100, (BASE, 1.0, 0.0)),
        ("twice the errors", 40, (2 * BASE, 1.0, 0.0)),
        ("20 % slower", 40, (BASE, 1.2, 0.0)),
        ("0.05 bits per byte worse", 40, (BASE, 1.0, 0.05)),
    ):
        ends = whole(count, rng, *how)
        back = [looks_ for phase, _, looks_ in ends if phase == "rolled-back" or phase == "rolling-back"]
        forth = [looks_ for phase, _, looks_ in ends if phase == "promoted"]
        middle = [f"{np.median(each):g}" if each else "-" for each in (forth, back)]
        rows.append((name, count, len(forth), len(back), count - len(forth) - len(back), *middle))
    print("Whole rollouts: 5, 25, 50 %, 1,200 requests a look, four guardrails, alpha 5 % in all")
    table(("candidate", "rollouts", "promoted", "rolled back", "neither", "looks to promote", "to roll back"), rows)

    for alpha, share in false.items():
        verdict(f"% of healthy canaries rolled back at alpha {alpha:.0%}", 100 * share, 100 * alpha)
    verdict("median looks until twice the errors are found", medians[2.0], 12)
    verdict("median looks until five times the errors are found", medians[5.0], 2)
    verdict("share of slow p99 that is found within 100 looks", min(p99.values()), 0.95, at_least=True)
    verdict("paired samples / samples of each of two arms, simulated", ratios[0.75], 1 / 3)
    verdict("paired samples / samples of each of two arms, real texts", paired / apart, 1 / 3)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
