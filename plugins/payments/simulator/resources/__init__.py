"""The endpoints of the simulated API, one module for each family of objects."""
