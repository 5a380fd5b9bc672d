"""Tools for the development of XSlim; they are not part of the package."""
