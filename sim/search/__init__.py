"""Many design points: an answer for one without playing it, and what is made of such answers."""
