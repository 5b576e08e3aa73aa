"""Makers of outliers: corrupted, attacked and generated pictures. None of them ever touches a fit."""
