"""How wrong we are: predictions against measurements, and figures fitted to them."""
