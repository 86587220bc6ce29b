"""The `bursar` command line: above every other room, imported by none."""
