"""What has been done: the one writer, caps, approvals, revenue and the audit log, on SQLite or PostgreSQL."""
