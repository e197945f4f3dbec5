"""What a run needs, tried one by one without changing anything: what is missing is said before it is needed."""
