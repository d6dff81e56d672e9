"""gunicorn with several workers: each has a clock, one of them leads, another takes over when that one dies."""

workers = 3


def post_worker_init(worker):  # gunicorn's own name and shape
    """Start the clock with the worker; without this it starts with the worker's first request."""
    from bgapp import start_clock

    start_clock(worker.wsgi)
