"""Training: objective, step, loop, state and the run folder."""
