"""Numbers about events: series, statistics and distributions, from hourly rollups or from events."""
