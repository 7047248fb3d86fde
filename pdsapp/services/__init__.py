"""Use cases that are neither one attempt nor one row. Each takes its session and says who commits."""
