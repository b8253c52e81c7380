"""Faces of the switch for unmodified code: methods grafted onto the standard library's own classes.

Nothing is replaced or subclassed, `type()` stays what it was, and every graft can be taken out.
`enable` puts the grafts in; `sockets` has socket.socket's methods, `pollers` those of select,
poll and epoll, `descriptors` the functions of os that take a descriptor, `tls` the ssl module's,
`processes` what fork needs; `passing` and `pickling` see to descriptors that other processes get.
"""
