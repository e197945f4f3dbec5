"""The commands of `python -m beam_pipeline`, one a module; each has a `COMMAND`."""
