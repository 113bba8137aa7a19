"""What a session costs: OCPI tariffs, cut and rated by a fold over readings. Pure; the reference is OCPI 2.2.1."""
