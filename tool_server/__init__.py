"""The gate every call passes, the dispatcher behind it, and the doors that lead to it: MCP, sidecar, command line."""
