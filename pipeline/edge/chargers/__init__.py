"""Virtual chargers that speak OCPP-J as real firmware does, quirks included.

`truth` is what really happens, `tape` what a sound station sends about it. `quirks` (by kind in `meters`, `samples`,
`identity`, `timing`) change that as firmware does, `ocpp16` and `ocpp201` write it, and `fleet` puts the frames of all
stations in order.
"""
