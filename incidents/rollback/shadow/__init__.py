"""A release whose version is first asked live requests beside the one that answers them, and compared with it."""
