"""The bundled serving host: one ASGI program for one machine.

It shares the wire format with the server, and no code.
"""
