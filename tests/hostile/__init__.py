"""Records and frames that want to stop the worker, and exceptions where it can raise: whom it costs what."""
