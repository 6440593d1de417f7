"""
A small Django project that several server processes serve at once, and clients that watch them.

Start at ``running.py``. ``judge.py`` says whether groups kept their promises to a set of clients.
"""
