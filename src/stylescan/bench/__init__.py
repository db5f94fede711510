"""What this machine makes of a preset: seconds, memory, floating point operations and the share of its ceiling."""
