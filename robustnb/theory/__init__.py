"""Exact and vectorised companions of the papers' theory (numpy and scipy), a package a paper."""
