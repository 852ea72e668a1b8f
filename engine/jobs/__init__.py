"""Jobs: the store that keeps them, the queue that hands them out, the worker process that runs them.

Nothing is imported here on purpose: the worker imports this package too, and has no use for the database.
"""
