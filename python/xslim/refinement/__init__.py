"""Refinement: ordered steps that bring the quantised model closer to the float one, each judged."""
