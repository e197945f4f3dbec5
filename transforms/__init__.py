"""The stages of the pipeline, one module each, named by their verb, and what the stages share."""
