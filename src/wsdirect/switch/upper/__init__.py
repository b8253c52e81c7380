"""The switch's upper interface: a service provider with the byte-stream semantics of TCP.

`service_provider.SwitchProvider` has the functions that Windows Sockets programs expect below
ws2_32, over TCP/IP or over a SAN where both ends can; `wsdirect.winsock` is the thin layer above.

    tables            states, refusals and event rules: data only
    sockets           one socket, its queues and its announcements
    endpoints, paths  what carries the bytes: TCP or a native stream, and how it comes about
    engine, progress  the thread that serves overlapped requests and records events
    passing         a TCP socket on its way to another process
    adopting        kernel sockets as sockets of this interface, and an engine that a loop drives
    connections, data, events, options, controls, extensions, duplicates
                      the functions by subject, put together in service_provider
"""
