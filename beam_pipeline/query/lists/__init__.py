"""Lists of events: pages, cursors and totals, with each event once in its newest version; single traces and their spans."""
