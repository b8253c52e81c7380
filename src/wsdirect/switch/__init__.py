"""The Windows Sockets switch: per connection, a SAN provider or TCP/IP, with TCP's semantics.

The switch knows providers through the catalogue and the SPI alone.  Its parts: `policy` (may this
connection leave TCP?), `routes` (which provider reaches that address?), `ports` (names that TCP
would have given), `connect` and `listen` (the two ways a connection begins), `connection` (what is
known of one that has), `options` (what TCP would say of its options), `handover` (back to TCP).
"""
