"""One module a system: its worker's side, and the three things that a caller does with it.

`enqueue(tag, seconds)` asks for one job, `bulk(count)` for many in the way that the system has for many,
`running()` returns how many jobs the system says are running or taken, None where it does not say.
"""
