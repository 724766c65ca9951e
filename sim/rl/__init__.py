"""Rollout and training in closed loop: who samples, scores, trains, and moves new weights, when."""
