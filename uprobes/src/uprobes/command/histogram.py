"""How long calls took: counts by powers of two, and the extremes."""

from dataclasses import dataclass, field

BUCKETS = 64


@dataclass(slots=True)
class Histogram:
    """Times in nanoseconds; bucket i counts 2^i ≤ time < 2^(i+1), bucket 0 also 0."""

    count: int = 0
    total: int = 0
    least: int = 0
    most: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, time_ns: int) -> None:
        """Count one time; a negative one (a clock that went back) counts as 0."""
        time_ns = max(time_ns, 0)
        self.least = min(self.least, time_ns) if self.count else time_ns
        self.most = max(self.most, time_ns)
        self.count += 1
        self.total += time_ns
        self.buckets[min(max(time_ns.bit_length() - 1, 0), BUCKETS - 1)] += 1

    @property
    def mean(self) -> int:
        """The mean time, 0 without any."""
        return self.total // self.count if self.count else 0

    def span(self) -> range:
        """Return the buckets from the first used one to the last."""
        used = [index for index, number in enumerate(self.buckets) if number]
        return range(used[0], used[-1] + 1) if used else range(0)

    def as_record(self) -> dict[str, object]:
        """Return it as the JSON contract writes it; `log2_ns` ends with the last used bucket."""
        return {
            "count": self.count,
            "min_ns": self.least if self.count else None,
            "mean_ns": self.mean if self.count else None,
            "max_ns": self.most if self.count else None,
            "log2_ns": self.buckets[: self.span().stop],
        }


def duration(time_ns: float) -> str:
    """Write a time for people: three digits and a unit."""
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        value = time_ns / size
        if value < 999.5 or unit == "s":
            digits = 0 if unit == "ns" or value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("seconds fit everything")
