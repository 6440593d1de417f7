"""One socket: its state and verbs, its outbox, and its monitor. Read ``connection.py`` first."""
