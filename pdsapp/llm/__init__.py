"""Calling an OpenAI-compatible endpoint: where it is, whether it may be reached, what it answered."""
