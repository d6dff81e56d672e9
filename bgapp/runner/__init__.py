"""The runner's side: a detached host, runners with slots, their forkers, and a process for every attempt."""
