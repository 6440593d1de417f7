"""
Who is connected where at this moment, in all processes of a project, and how to disconnect them.

Nobody keeps a list: whoever wants to know asks, by an order to all processes. Read ``questions.py``
for what is asked, ``answering.py`` for how an event loop answers without being held up, and
``asking.py`` for how the answers are gathered. ``facts.py`` is what is told of one connection.
"""
