/* Messages over a stream's rings: an 8-byte header, then the bytes, published in one step.
 *
 * The header is the length, and in its top byte the kind: data for the peer's program, or control for
 * the peer's provider.  Both kinds keep their order.
 */
#ifndef WSD_MESSAGE_H
#define WSD_MESSAGE_H

#include "wsd_stream.h"

/* Longest message that a ring of this connection can carry. */
uint64_t wsd_message_max(const wsd_stream *s);
/* 0 queued whole; -EAGAIN no room now, -EMSGSIZE never fits, -errno as for send.  After -EAGAIN for
 * a message of up to half a ring the descriptor polls writable once there is room. */
int wsd_message_send(wsd_stream *s, const struct iovec *iov, int count);
/* The same for the peer's provider; its bell rings even if the peer has silenced it. */
int wsd_message_send_control(wsd_stream *s, const struct iovec *iov, int count);
/* Length of the first queued message; -EAGAIN none yet, -ECONNRESET / -ECONNABORTED at the end,
 * -EPROTO it is control. */
int64_t wsd_message_size(wsd_stream *s);
/* Takes the first message; -EMSGSIZE leaves it queued, and so does -EPROTO: it is control. */
int64_t wsd_message_recv(wsd_stream *s, const struct iovec *iov, int count);
int wsd_message_discard(wsd_stream *s);
/* Takes the first message if it is control; -EPROTO: it is data. */
int64_t wsd_message_recv_control(wsd_stream *s, const struct iovec *iov, int count);
/* How many control messages the peer says it has sent, modulo 2^32: a reason to look, not a fact. */
uint32_t wsd_message_controls(const wsd_stream *s);

#endif
