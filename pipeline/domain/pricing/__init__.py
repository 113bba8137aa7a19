"""What a session costs: OCPI tariffs, cut and rated by a fold over readings. Pure.

The rules, D1 to D26, and the laws that tests hold are in ops/spec/pricing.md; the base is OCPI 2.2.1.
"""
