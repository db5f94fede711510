"""Tensor maths without state: every fast path stands beside a plain reference that a test holds it to."""
