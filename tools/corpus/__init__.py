"""Run every command of XSlim on many models, in processes with limits, and judge the results.

``python -m tools.corpus FOLDER`` from the root of a clone; it needs only the installed package.
"""
