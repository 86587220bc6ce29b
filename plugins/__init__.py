"""What can be done: the plugin contract, the registry, and one folder for each kind of tool."""
