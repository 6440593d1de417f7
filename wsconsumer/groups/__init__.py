"""Groups of connections. So far only who listens to what is broadcast: ``taps.py``."""
