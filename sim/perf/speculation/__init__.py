"""Speculative decoding in steady state: what drafts give, what they cost, what that comes to."""
