"""What an author runs on his own plugin before anybody else does."""
