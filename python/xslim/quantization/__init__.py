"""From a prepared model to the numbers of its quantised form."""
