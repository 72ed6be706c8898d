"""Files of any bytes, given to everything that reads files of users; see targets.py."""
