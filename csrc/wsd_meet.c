#include "wsd_meet.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "wsd_bell.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#define NOBODY 65534u /* how the kernel calls users that have no number in this namespace */

/* ---- offers ---------------------------------------------------------------------------------- */

static const uint8_t prefix[14] = "\0wsdirect/1/o/";
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
#define VERSION 1

/* As struct.pack("=BBIQHI16sH16sH") lays it out behind the prefix. */
typedef struct __attribute__((packed)) {
    uint8_t prefix[sizeof prefix];
    uint8_t version, flags;
    uint32_t pid;
    uint64_t segment;
    uint16_t slot;
    uint32_t generation;
    uint8_t local[16];
    uint16_t local_port;
    uint8_t remote[16];
    uint16_t remote_port;
} packed_offer;
_Static_assert(sizeof(packed_offer) == WSD_OFFER_LENGTH, "an offer is as long as its name");

void wsd_offer_pack(const wsd_offer *offer, uint8_t name[WSD_OFFER_LENGTH])
{
    packed_offer p = {.version = VERSION, .flags = offer->flags, .pid = offer->pid, .segment = offer->segment,
                      .slot = offer->slot, .generation = offer->generation, .local_port = offer->local_port,
                      .remote_port = offer->remote_port};
    memcpy(p.prefix, prefix, sizeof prefix);
    memcpy(p.local, offer->local, sizeof p.local);
    memcpy(p.remote, offer->remote, sizeof p.remote);
    memcpy(name, &p, sizeof p);
}

static bool is_mapped(const uint8_t address[16])
{
    return memcmp(address, mapped, sizeof mapped) == 0;
}

/* 0.0.0.0 and :: stand for no host in particular. */
static bool is_wildcard(const uint8_t address[16])
{
    static const uint8_t zero[16];
    return memcmp(address, zero, 16) == 0 || (is_mapped(address) && memcmp(address + 12, zero, 4) == 0);
}

bool wsd_offer_parse(const uint8_t *name, size_t length, wsd_offer *out)
{
    packed_offer p;
    if (length != sizeof p)
        return false;
    memcpy(&p, name, sizeof p);
    if (memcmp(p.prefix, prefix, sizeof prefix) != 0 || p.version != VERSION)
        return false;
    if ((p.flags & ~(WSD_OFFER_NEW_SEGMENT | WSD_OFFER_NATIVE)) || !p.pid || !p.segment || !p.remote_port)
        return false;
    if (is_wildcard(p.local) || is_wildcard(p.remote) || is_mapped(p.local) != is_mapped(p.remote))
        return false;
    *out = (wsd_offer){.flags = p.flags, .pid = p.pid, .segment = p.segment, .slot = p.slot,
                       .generation = p.generation, .local_port = p.local_port, .remote_port = p.remote_port};
    memcpy(out->local, p.local, sizeof p.local);
    memcpy(out->remote, p.remote, sizeof p.remote);
    return true;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static bool is_at(int fd, uint64_t home)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return home == 0 || (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 && cookie == home);
}

/* Neither bound nor connected, nor on its way: all of them have a port. */
static bool is_fresh(int fd)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &size) < 0)
        return false;
    if (own.ss_family == AF_INET)
        return ((struct sockaddr_in *)&own)->sin_port == 0;
    return own.ss_family == AF_INET6 && ((struct sockaddr_in6 *)&own)->sin6_port == 0;
}

static socklen_t address_of(struct sockaddr_un *address, const uint8_t *name, size_t length)
{
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int peer_of(int fd, int *pid, uint32_t *uid)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    *pid = peer.pid;
    *uid = peer.uid;
    return 0;
}

static bool is_same_user(uint32_t uid)
{
    return uid == geteuid() && uid != NOBODY;
}

static int connect_bell(const wsd_destination *to, const wsd_offer *offer, int bell)
{
    struct sockaddr_un address;
    uint8_t name[WSD_OFFER_LENGTH];
    wsd_offer_pack(offer, name);
    if (!is_at(bell, to->home))
        return -EREMCHG;
    if (bind(bell, (struct sockaddr *)&address, address_of(&address, name, sizeof name)) < 0)
        return -errno;
    if (connect(bell, (struct sockaddr *)&address, address_of(&address, to->name, to->length)) < 0)
        return -errno;
    int pid = 0;
    uint32_t uid = NOBODY;
    int rc = peer_of(bell, &pid, &uid);
    if (rc == 0 && (pid != to->pid || !is_same_user(uid)))
        rc = -EREMCHG;
    return rc < 0 ? rc : wsd_bell_prepare(bell);
}

int wsd_meet_connect(const wsd_destination *to, const wsd_offer *offer, int like)
{
    int mode = fcntl(like, F_GETFL);
    if (mode < 0)
        return -errno;
    if (to->length > WSD_NAME_MAX || (mode & O_ASYNC) || !is_fresh(like))
        return -EINVAL;
    if (!is_at(like, to->home))
        return -EREMCHG;
    int bell = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bell < 0)
        return -errno;
    int rc = connect_bell(to, offer, bell);
    if (rc == 0 && !(mode & O_NONBLOCK) && fcntl(bell, F_SETFL, O_RDWR) < 0)
        rc = -errno;
    if (rc == 0)
        return bell;
    close(bell);
    return rc;
}

int wsd_meet_replace(int bell, int fd)
{
    int inherits = fcntl(fd, F_GETFD);
    int rc = inherits < 0 ? -1 : dup3(bell, fd, inherits & FD_CLOEXEC ? O_CLOEXEC : 0);
    rc = rc < 0 ? -errno : 0;
    close(bell);
    return rc;
}

/* ---- accepting ------------------------------------------------------------------------------- */

int wsd_meet_accept(int listener, wsd_caller *out)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    out->fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);
    if (out->fd < 0)
        return -errno;
    size_t length = size > offsetof(struct sockaddr_un, sun_path) ? size - offsetof(struct sockaddr_un, sun_path) : 0;
    out->length = (uint32_t)(length < sizeof out->name ? length : sizeof out->name);
    memcpy(out->name, address.sun_path, out->length);
    out->pid = 0;
    out->uid = NOBODY;
    out->usual = wsd_offer_parse(out->name, out->length, &out->offer) && peer_of(out->fd, &out->pid, &out->uid) == 0 &&
                 out->pid > 0 && (uint32_t)out->pid == out->offer.pid && is_same_user(out->uid) &&
                 wsd_bell_prepare(out->fd) == 0;
    return 0;
}
