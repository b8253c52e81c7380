"""The switch's session protocol: a byte stream out of a SAN's messages and RDMA.

`states` says what may follow what, `wire` what messages look like, `engine` is the protocol without
any input or output, and `core` and `session` drive it over one provider socket: `link` has the
requests there, `transfers` the large ones, `inbox` what was not read yet.  `connecting` and
`accepting` are the two ways to a session, `moving` the one to another process.  `pump` puts a
session under an unmodified program's descriptor.
"""
