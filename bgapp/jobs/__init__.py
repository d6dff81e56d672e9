"""Sample job classes that do real work: plain classes to run, to read and to copy."""
