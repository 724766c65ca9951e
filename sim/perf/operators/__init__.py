"""Seconds of the operators between attentions, one a file, as arrays over token counts."""
