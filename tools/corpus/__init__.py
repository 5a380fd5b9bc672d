"""Runs every command of XSlim over many models, in processes with limits, and judges the results.

``python -m tools.corpus FOLDER`` from the root of a clone; it needs only the installed package.
"""
