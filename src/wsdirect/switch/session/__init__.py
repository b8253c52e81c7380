"""The switch's session protocol: a byte stream out of a SAN's messages and RDMA.

`states` says what may follow what, `wire` what messages look like, `engine` is the protocol without
any input or output, and `session` drives it over one provider socket.  `connecting` and `accepting`
are the two ways to a session.  `pump` puts a session under an unmodified program's descriptor.
"""
