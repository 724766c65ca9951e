"""Fabrics: one file each; how bytes that are on the wires together share them."""
