"""One check a claim."""
