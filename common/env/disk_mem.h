#pragma once
/* A disk in memory, for tests and the simulator: what was written is volatile until it is synced, a
 * crash keeps any part of it, sectors may be torn, bits may flip, the n-th request may fail, space may
 * run out.  Everything that happens follows from the seed.  Requests end by timers of the env, after
 * a delay taken from the seed; those that change something in order, reads in any order. */
#include "common/env/disk.h"

struct disk_mem_config {
    uint64_t seed;
    uint64_t bytes_total;      /* what ALLOCATE and growing writes may take in all */
    uint64_t delay_ns_max;     /* of each request; 0: at the loop's next turn */
    uint32_t cut_off_misses;   /* of a write that is cut off one sector in so many is missing; 0: 2 */
    uint32_t sector_bytes;     /* what is written wholly or not at all; 0: 512; 1: torn anywhere */
};

/* The disk outlives crashes: disk_mem_attach() connects it to the env of the next life. */
struct disk *disk_mem_new(struct env *env, const struct disk_mem_config *config);
void disk_mem_free(struct disk *d);

/* The power goes: requests under way are forgotten without callback (a write or sync among them may
 * have happened wholly, partly or not at all), of what was not synced each sector stays or goes,
 * open files are closed.  `lose` false: only the process died; what was written stays, unsynced. */
void disk_mem_crash(struct disk *d, bool lose);
void disk_mem_attach(struct disk *d, struct env *env);

/* The n-th request from now of this kind (1: the next) ends with err; DISK_KIND_COUNT: of any kind.
 * A write that fails may have been carried out partly.  `sticky`: and all later ones. */
void disk_mem_fail(struct disk *d, enum disk_kind kind, uint32_t nth, int err, bool sticky);
void disk_mem_fail_clear(struct disk *d);

/* Flips one bit of a file, as it is read and as it is on the disk.  false: no such place. */
bool disk_mem_flip(struct disk *d, const char *name, uint64_t offset, unsigned bit);
void disk_mem_set_bytes_total(struct disk *d, uint64_t bytes_total);

/* Reads a file's bytes directly.  false: no such place. */
bool disk_mem_peek(struct disk *d, const char *name, uint64_t offset, void *ret, size_t len);

struct disk_mem_stats {
    uint64_t writes, reads, syncs, bytes_written, requests_under_way, files;
};
void disk_mem_stats_get(const struct disk *d, struct disk_mem_stats *ret);
