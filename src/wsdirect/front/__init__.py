"""Faces of the switch for unmodified code: methods grafted onto the standard library's own classes.

Nothing is replaced or subclassed, `type()` stays what it was, and every graft can be taken out.
`enable` puts the grafts in; `sockets` has socket.socket's methods, `selecting` select.select,
`pollers` the methods of poll and epoll and `watches` what those wait for, `readiness` what is true
of one descriptor, `offers` those that nobody has taken; `descriptors` the functions of os that take
a descriptor, `tls` the ssl module's, `processes` what fork needs; `passing` and `pickling` see to
descriptors that other processes get.
"""
