/* Messages over a stream's rings: an 8-byte length, then the bytes, published in one step. */
#ifndef WSD_MESSAGE_H
#define WSD_MESSAGE_H

#include "wsd_stream.h"

/* Longest message that a ring of this connection can carry. */
uint64_t wsd_message_max(const wsd_stream *s);
/* 0 queued whole; -EAGAIN no room now, -EMSGSIZE never fits, -errno as for send.  After -EAGAIN for
 * a message of up to half a ring the descriptor polls writable once there is room. */
int wsd_message_send(wsd_stream *s, const struct iovec *iov, int count);
/* Length of the first queued message; -EAGAIN none yet, -ECONNRESET / -ECONNABORTED at the end. */
int64_t wsd_message_size(wsd_stream *s);
/* Takes the first message; -EMSGSIZE leaves it queued. */
int64_t wsd_message_recv(wsd_stream *s, const struct iovec *iov, int count);
int wsd_message_discard(wsd_stream *s);

#endif
