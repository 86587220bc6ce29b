"""The gate every call passes, the dispatcher behind it, and the doors to it: MCP, sidecar, commands."""
