"""How long a step takes: roofline, layouts, attentions, memory. Pure functions of plain numbers."""
