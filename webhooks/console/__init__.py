"""The operators' console: pages made on the server, every change a form that carries what it was shown."""
