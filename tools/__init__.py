"""Programs for those who develop XSlim; no part of the package."""
