"""A network changed by labels: what a tuner attaches, the run that trains it, the delta that is kept."""
