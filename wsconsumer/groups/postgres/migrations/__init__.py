"""The tables and functions of groups that keep. Read ``0001_kept_groups.py``."""
