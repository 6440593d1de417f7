"""Attacks on servers and engines, each with what came of it; `python -m tests.attacks` is all."""
