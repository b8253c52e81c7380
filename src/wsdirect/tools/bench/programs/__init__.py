"""Ordinary programs that the application scenarios run, on TCP and under `wsdirect run`.

None of them knows of wsdirect. A server prints its port and serves until its standard input ends; a
client is given that port, and on every line of its standard input, which says for how many seconds,
does its operation over and over and prints what came of it. Both do the first and the last through
`pacing`.
"""
