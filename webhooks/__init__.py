"""The web application: the webhooks that providers send and the console that operators sign in to."""
