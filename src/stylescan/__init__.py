"""stylescan: train style-based generators on medical scans, and say honestly how good the synthetic images are."""

__version__ = "0.1.0"
