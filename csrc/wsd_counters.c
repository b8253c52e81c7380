#include "wsd_counters.h"

static wsd_counters own;
wsd_counters *_Atomic wsd_counters_now = &own;
