/* Descriptors that came from another process and stand for a switched connection (csrc/wsd_bare.h). */
#ifndef WSDPY_RECEIVED_H
#define WSDPY_RECEIVED_H

#include <stdbool.h>

/* This process was started with such a descriptor, or has received descriptors since. */
extern bool wsdpy_got_descriptors;

/* Whether one of the two sockets bears a name of the switch; two system calls for an AF_UNIX socket,
 * one for others. */
bool wsdpy_is_ours(int fd);

#endif
