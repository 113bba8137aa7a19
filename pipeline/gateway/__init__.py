"""The optional OCPP-J endpoint: charger connections -> `meter-events`, acknowledged only when Kafka has the frame.

The rule of the folder: no acknowledged frame is lost, and no part of a frame, a password or a station's name is ever
logged. What a frame means is decided in `wire`, by the worker, not here.
"""
