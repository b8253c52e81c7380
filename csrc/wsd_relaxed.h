/* Loads and stores that order nothing: the word alone matters, or a lock or fence beside it orders. */
#ifndef WSD_RELAXED_H
#define WSD_RELAXED_H

#include <stdatomic.h>

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

#endif
