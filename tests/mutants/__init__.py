"""Broken Rafts on purpose: each well-known pitfall, put into the core, must be noticed (see `scoreboard`)."""
