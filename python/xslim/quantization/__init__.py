"""Plan the quantisation of a prepared model and compute its scales, zero points and int8 constants."""
