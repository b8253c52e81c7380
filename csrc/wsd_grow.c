#include "wsd_grow.h"

#include "wsd_bare.h"
#include "wsd_relaxed.h"

#define NO_WINDOW UINT64_MAX
/* A ring that was full has to have carried this many times its size.  The large ring's pages have to
 * be found and cleared first, which costs as much as some megabytes' copies; and one that a slow
 * reader has let fill up once has no use for more. */
#define WORTH_IT 16

void wsd_grow_init(wsd_stream *s, uint32_t index)
{
    atomic_init(&s->window, NO_WINDOW);
    s->large = s->size;
    s->out_large = s->out_data;
    s->in_large = s->in_data;
    if (s->segment->large) {
        s->large = s->segment->large;
        s->out_large = wsd_segment_large(s->segment, index, s->side);
        s->in_large = wsd_segment_large(s->segment, index, 1 - s->side);
    }
}

bool wsd_grow(wsd_stream *s, uint64_t head)
{
    uint64_t window = LOAD(s->window);
    /* not attached: whoever withdraws the offer finds all that was sent in the one ring */
    if (s->large == s->size || LOAD(s->out->grown) != 0 || window <= s->size || !LOAD(s->attached))
        return false;
    if (window == NO_WINDOW && head < WORTH_IT * s->size)
        return false;
    STORE(s->out->grown, head + 1); /* published by the release of the next head */
    return true;
}

/* Nobody of this process's side is left to read: not even a process without the segment, for which the
 * peer would move bytes out of the ring.  What the peer writes from here on is given back by the next
 * user of the slot. */
void wsd_grow_return(wsd_stream *s)
{
    if (!LOAD(s->attached) || LOAD(s->slot->holders[s->side]) > 1)
        return;
    bool alone = LOAD(s->slot->holders[1 - s->side]) == 0;
    if (!wsd_bare_own(s) || alone) {
        if (LOAD(s->in->grown))
            wsd_segment_forget(s->segment, s->in_large, s->large);
        /* a ring that was never gone round is cheaper to keep than to have cleared again */
        if (LOAD(s->in->tail) >= s->size)
            wsd_segment_forget(s->segment, s->in_data, s->size);
    }
    if (alone && LOAD(s->out->grown))
        wsd_segment_forget(s->segment, s->out_large, s->large);
}
