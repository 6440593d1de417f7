"""From a websocket scope to a consumer, as Django answers a GET. Read ``handler.py`` first."""
