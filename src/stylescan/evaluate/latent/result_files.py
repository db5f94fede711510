"""The names that `embed`, `direction` and `project` write: they may share a folder, and with it the projections."""

from __future__ import annotations

RESULTS = (
    "pca.png", "umap.png", "embedding.json", "points.csv", "checkpoints.png", "checkpoints.json", "projections",
    "strip.png", "curves.png", "direction.safetensors", "direction.json",
    "projection.png", "ws.safetensors", "projection.json",
)  # fmt: skip
