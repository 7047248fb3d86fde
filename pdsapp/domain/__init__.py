"""The rules, pure: no Flask, SQL, Redis, HTTP, clock or ambient randomness."""
