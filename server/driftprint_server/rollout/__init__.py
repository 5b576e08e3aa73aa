"""Which bundle devices are to run: served to them, given to some first, and taken back where it alarms more."""
