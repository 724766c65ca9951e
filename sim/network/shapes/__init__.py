"""Shapes of nodes: one file each; what a node's GPUs, switches and NICs are and how they hang
together."""
