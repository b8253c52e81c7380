#include "received.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

bool wsdpy_got_descriptors;

static const char prefix[] = "\0wsdirect/"; /* OURS of wsdirect.switch.bare */

static bool bears_it(const struct sockaddr_un *name, socklen_t length)
{
    size_t given = sizeof prefix - 1;
    return length >= offsetof(struct sockaddr_un, sun_path) + given && memcmp(name->sun_path, prefix, given) == 0;
}

bool wsdpy_is_ours(int fd)
{
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &length) < 0 || name.sun_family != AF_UNIX)
        return false;
    if (bears_it(&name, length))
        return true;
    length = sizeof name;
    return getpeername(fd, (struct sockaddr *)&name, &length) == 0 && bears_it(&name, length);
}
