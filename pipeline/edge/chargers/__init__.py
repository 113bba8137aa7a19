"""Virtual chargers that speak OCPP-J as real firmware does, quirks included.

`truth` says what really happened, `tape` what a sound station says about it, `quirks` (by kind in `measuring`,
`identity`, `timing`) what firmware makes of that, `ocpp16` and `ocpp201` how it is written, `fleet` in which order it
arrives.
"""
