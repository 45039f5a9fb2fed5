"""A replica's client side, pure (floor 3): bytes of clients in; commands, replies and events out, in order.

Start with ``connection.py``, one client connection; then ``clerk.py``, who was heard and who expires; then ``service.py``,
the object a driver or the simulator talks to. ``shared.py`` is what connections have in common, ``reads.py`` what is answered
from local state, ``auth.py`` who a connection is, ``words.py`` the four-letter words, ``outbox.py`` what leaves,
``settings.py`` timeouts and bounds.
"""
