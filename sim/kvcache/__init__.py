"""Who holds which KV: a pool of units and an index of prefixes. Pure state, no time."""
