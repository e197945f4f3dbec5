"""How rows get in: blocks, their inserts, receipts and rollups, and what is left of a block to insert."""
