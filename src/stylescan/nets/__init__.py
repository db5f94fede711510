"""The model families: each file holds one family's specification and networks."""
