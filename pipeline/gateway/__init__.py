"""The optional OCPP-J endpoint: charger connections -> `meter-events`, acknowledged only when Kafka has the frame.

The rule of the folder: nothing is acknowledged and lost, and nothing of a frame, a password or a station's name is ever
logged. What a frame means is not decided here but in `wire`, by the worker.
"""
