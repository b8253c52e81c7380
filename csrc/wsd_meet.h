/* The kernel's part of a connection's beginning: the client's AF_UNIX socket bears its offer as its name
 * and connects to the listener's; the server gets the name with the connection.  What is usual is done
 * here in one go; whatever is not ends with an error, and nothing has happened that could be seen.
 *
 * An offer's bytes are those of wsdirect.providers.shm.names, whose tests compare the two.
 */
#ifndef WSD_MEET_H
#define WSD_MEET_H

#include <sys/socket.h>

#include "wsd_base.h"

#define WSD_OFFER_LENGTH 70u
#define WSD_NAME_MAX 108u

enum { WSD_OFFER_NEW_SEGMENT = 1, WSD_OFFER_NATIVE = 2 };

typedef struct {
    uint8_t flags;
    uint32_t pid; /* of the client, as it sees itself */
    uint64_t segment;
    uint16_t slot;
    uint32_t generation;
    uint8_t local[16], remote[16]; /* IPv4 as mapped addresses */
    uint16_t local_port, remote_port;
} wsd_offer;

void wsd_offer_pack(const wsd_offer *offer, uint8_t name[WSD_OFFER_LENGTH]);
/* False: this is no offer, or not a valid one.  `name` was written by somebody else. */
bool wsd_offer_parse(const uint8_t *name, size_t length, wsd_offer *out);

/* Network namespaces are told apart by their cookies; 0: this kernel does not tell (before 5.14). */
typedef struct {
    uint8_t name[WSD_NAME_MAX]; /* the listener's, abstract */
    uint32_t length;
    int pid;       /* the process that should answer */
    uint64_t home; /* the namespace in which all this is true */
} wsd_destination;

/* A bell with this offer, connected to the listener, in the blocking mode of the TCP socket `like`,
 * which must be neither bound nor connected.  Its descriptor, or -errno: -EREMCHG if another process or
 * another user has answered, or somebody is in another namespace. */
int wsd_meet_connect(const wsd_destination *to, const wsd_offer *offer, int like);
/* Make `fd` what `bell` is, inheritable or not as it was; `bell` is closed in any case.  0 or -errno. */
int wsd_meet_replace(int bell, int fd);

typedef struct {
    int fd; /* blocking, close-on-exec; prepared as a bell if `usual` */
    int pid;
    uint32_t uid;
    bool usual; /* `offer` is valid, and of the very process that the kernel names, of this user */
    wsd_offer offer;
    uint8_t name[WSD_NAME_MAX];
    uint32_t length;
} wsd_caller;

/* The next who waits at a non-blocking listener: 0, -EAGAIN if none does, other -errno. */
int wsd_meet_accept(int listener, wsd_caller *out);

#endif
