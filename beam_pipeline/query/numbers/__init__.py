"""Numbers about events: series, statistics and distributions, from the hourly rollups or from the events."""
