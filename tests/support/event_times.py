"""Hypothesis strategies for what an event may give as a time: text that is nearly ISO 8601, and numbers."""

from __future__ import annotations

from hypothesis import strategies as st

from transforms.events.times import MAX_MS, MIN_MS


def _sometimes(usual: str, *others: str) -> st.SearchStrategy[str]:
    return st.sampled_from([usual] * 4 + list(others))


iso_like = st.builds(
    lambda *parts: "".join(parts),
    _sometimes("2026", "0000", "1900", "2299", "9999", "26"),
    separator := st.sampled_from(["-", "-", "", "/"]),
    _sometimes("11", "02", "13", "1"),
    separator,
    _sometimes("20", "29", "31", "00"),
    _sometimes("T", " ", "t", "", "T "),
    _sometimes("12", "23", "24", ""),
    colon := st.sampled_from([":", ":", ""]),
    _sometimes("59", "60", ""),
    colon,
    _sometimes("07", "60", "7", ""),
    _sometimes("", ".", ",5", ".123456", ".1234567", ".999999999", ".12a"),
    st.sampled_from(["", "Z", "Z", "z", " Z", "+00", "-02:30", "+0200", "+24:00", "+02:60", "+02:", " ", "\n"]),
)
"""Text that is ISO 8601, or nearly."""
edges = st.sampled_from(
    [bound + step for bound in (MIN_MS, MAX_MS, 10**9, 10**10, 19_000_101, 0) for step in (-1, 0, 1)]
)
numbers = (
    edges
    | st.builds(lambda edge, part: edge + part, edges, st.sampled_from([-0.5, 0.5, 0.001]))
    | st.integers(-(10**20), 10**20)
    | st.integers(MIN_MS, MAX_MS)
    | st.floats()
    | st.floats(MIN_MS, MAX_MS)
)
"""Around the limits, and anything else."""
