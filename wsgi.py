"""What a server serves: the stand-alone application, marked as one whose clock may tick."""

from bgapp import create_app, start

app = create_app()
start(app)
