"""``driftprint doctor``: what would keep the agent from its work on this machine, and what to do about it.

A family of checks is one file here and one line in `examine`.
"""
