"""Lists of events: pages in an order, each event once in its newest version, and how many there are."""
