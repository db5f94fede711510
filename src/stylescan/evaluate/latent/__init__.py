"""Latent space: real images projected into it, and what the styles of generated images carry."""
