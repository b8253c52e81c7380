/* Offers in names, the short ways to connect and to accept, and the watch for callers. */
#include "testing.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "wsd_arrivals.h"
#include "wsd_meet.h"

static const wsd_offer good = {
    .flags = WSD_OFFER_NATIVE, .pid = 77, .segment = 1ull << 63 | 5, .slot = 63, .generation = (1u << 30) - 1,
    .local = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .remote = {[10] = 0xff, [11] = 0xff, [12] = 10},
    .local_port = 45000, .remote_port = 80};

static bool survives(wsd_offer offer)
{
    uint8_t name[WSD_OFFER_LENGTH];
    wsd_offer out;
    wsd_offer_pack(&offer, name);
    return wsd_offer_parse(name, sizeof name, &out) && out.segment == offer.segment && out.slot == offer.slot &&
           out.generation == offer.generation && out.pid == offer.pid && out.flags == offer.flags &&
           out.local_port == offer.local_port && out.remote_port == offer.remote_port &&
           memcmp(out.local, offer.local, 16) == 0 && memcmp(out.remote, offer.remote, 16) == 0;
}

static void offers(void)
{
    CHECK(survives(good));
    wsd_offer bad = good;
    bad.flags = 4;
    CHECK(!survives(bad));
    bad = good, bad.pid = 0;
    CHECK(!survives(bad));
    bad = good, bad.segment = 0;
    CHECK(!survives(bad));
    bad = good, bad.remote_port = 0;
    CHECK(!survives(bad));
    bad = good, bad.local[12] = bad.local[15] = 0; /* 0.0.0.0 */
    CHECK(!survives(bad));
    bad = good, memset(bad.remote, 0, 16); /* :: */
    CHECK(!survives(bad));
    bad = good, bad.remote[0] = 1; /* of another family */
    CHECK(!survives(bad));
    uint8_t name[WSD_OFFER_LENGTH + 1] = {0};
    wsd_offer out;
    wsd_offer_pack(&good, name);
    CHECK(!wsd_offer_parse(name, WSD_OFFER_LENGTH - 1, &out));
    CHECK(!wsd_offer_parse(name, WSD_OFFER_LENGTH + 1, &out));
    for (unsigned i = 0; i < 15; i++) { /* prefix and version */
        name[i] ^= 1;
        CHECK(!wsd_offer_parse(name, WSD_OFFER_LENGTH, &out));
        name[i] ^= 1;
    }
}

static int listener(wsd_destination *to)
{
    *to = (wsd_destination){.pid = getpid()};
    to->length = (uint32_t)snprintf((char *)to->name + 1, sizeof to->name - 1, "wsdirect-test-%d", getpid()) + 1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, to->name, to->length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK_IS(bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + to->length)), 0);
    CHECK_IS(listen(fd, 2), 0);
    return fd;
}

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void meetings(void)
{
    wsd_destination to;
    wsd_caller caller;
    int server = listener(&to), before = open_descriptors();
    CHECK_IS(wsd_meet_accept(server, &caller), -EAGAIN);
    for (int blocking = 0; blocking < 2; blocking++) {
        int tcp = socket(AF_INET, SOCK_STREAM | (blocking ? SOCK_CLOEXEC : SOCK_NONBLOCK), 0);
        wsd_offer offer = good;
        offer.pid = (uint32_t)getpid();
        int bell = wsd_meet_connect(&to, &offer, tcp);
        CHECK(bell >= 0);
        CHECK_IS(wsd_meet_replace(bell, tcp), 0);
        CHECK_IS(fcntl(tcp, F_GETFL) & O_NONBLOCK, blocking ? 0 : O_NONBLOCK);
        CHECK_IS(fcntl(tcp, F_GETFD), blocking ? FD_CLOEXEC : 0);
        CHECK_IS(wsd_meet_accept(server, &caller), 0);
        CHECK(caller.usual);
        CHECK_IS(caller.pid, getpid());
        CHECK_IS(caller.offer.segment, offer.segment);
        close(caller.fd);
        close(tcp);
    }
    /* an offer in the name of another process, and a name that is none */
    int tcp = socket(AF_INET, SOCK_STREAM, 0), bell = wsd_meet_connect(&to, &good, tcp);
    CHECK(bell >= 0);
    close(bell);
    CHECK_IS(wsd_meet_accept(server, &caller), 0);
    CHECK(!caller.usual);
    close(caller.fd);
    /* somebody else answers, or lives in another namespace */
    wsd_destination other = to;
    other.pid = 1;
    CHECK_IS(wsd_meet_connect(&other, &good, tcp), -EREMCHG);
    other = to, other.home = 1;
    CHECK_IS(wsd_meet_connect(&other, &good, tcp), -EREMCHG);
    CHECK_IS(wsd_meet_accept(server, &caller), 0); /* what the first of them has left */
    close(caller.fd);
    /* bound already: it has a name of its own */
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK_IS(bind(tcp, (struct sockaddr *)&any, sizeof any), 0);
    CHECK_IS(wsd_meet_connect(&to, &good, tcp), -EINVAL);
    CHECK_IS(wsd_meet_connect(&to, &good, -1), -EBADF);
    close(tcp);
    CHECK_IS(open_descriptors(), before);
    close(server);
    tcp = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_IS(wsd_meet_connect(&to, &good, tcp), -ECONNREFUSED);
    close(tcp);
}

static void *announce_late(void *segment)
{
    usleep(200);
    wsd_arrivals_announce(segment);
    return NULL;
}

static void arrivals(void)
{
    wsd_segment *segment, *other;
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &segment), 0);
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &other), 0);
    wsd_segment_header *header = (wsd_segment_header *)segment->base;
    atomic_store(&header->last_cpu[0], UINT32_MAX);
    wsd_arrivals *a = wsd_arrivals_open(7), *b = wsd_arrivals_open(8);
    uint32_t seen;
    CHECK(wsd_arrivals_of(7) == a && wsd_arrivals_of(8) == b && wsd_arrivals_of(9) == NULL);
    CHECK(!wsd_arrivals_begin(a, &seen)); /* nobody has come yet */
    wsd_arrivals_came(a, segment);
    CHECK(wsd_arrivals_begin(a, &seen));
    wsd_arrivals_announce(segment);
    CHECK(wsd_arrivals_spin(a, seen, WSD_FOREVER));
    wsd_arrivals_came(a, other); /* while a spin may look at the first */
    CHECK(a->segment == segment);
    wsd_arrivals_end(a);
    for (int i = 0; i < 50; i++) { /* in time or in vain, and never for long */
        pthread_t thread;
        CHECK(wsd_arrivals_begin(a, &seen));
        CHECK_IS(pthread_create(&thread, NULL, announce_late, segment), 0);
        uint64_t since = wsd_now();
        if (!wsd_arrivals_spin(a, seen, WSD_FOREVER))
            wsd_arrivals_slept(a, since);
        pthread_join(thread, NULL);
        wsd_arrivals_end(a);
    }
    CHECK(wsd_arrivals_begin(a, &seen));
    wsd_arrivals_close(a); /* another thread closes the listener */
    CHECK(wsd_arrivals_of(7) == NULL);
    CHECK(!wsd_arrivals_spin(a, seen, wsd_now()));
    wsd_arrivals_end(a);
    CHECK_IS(segment->references, 1);
    wsd_arrivals_came(b, other);
    CHECK_IS(other->references, 2);
    wsd_arrivals_close(b);
    CHECK_IS(other->references, 1);
    wsd_segment_release(segment);
    wsd_segment_release(other);
}

int main(void)
{
    RUN(offers);
    RUN(meetings);
    RUN(arrivals);
    return 0;
}
