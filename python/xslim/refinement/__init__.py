"""Refinement: ordered steps that reduce the error of the quantised model; a judge keeps or undoes each."""
