/* Sets of shards, tried until one blob has won.  See judge.h. */
#include "storagenode/repair/judge.h"

#include "common/base/check.h"
#include "common/base/hash.h"

static unsigned count(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

static unsigned shards_of(const struct judge *j)
{
    return j->ec->data + j->ec->parity;
}

static bool same_word(const struct judge_shard *a, const struct judge_shard *b)
{
    return a->blob_bytes == b->blob_bytes && a->blob_crc32c == b->blob_crc32c;
}

/* Do the headers of the set agree, on a blob whose shards have this size? */
static bool words_agree(const struct judge *j, uint32_t set)
{
    const struct judge_shard *first = &j->shard[__builtin_ctz(set)];
    unsigned data = j->ec->data;
    for (unsigned i = 0; i < shards_of(j); i++)
        if ((set >> i & 1) && !same_word(&j->shard[i], first))
            return false;
    if (first->blob_bytes == 0)
        return true; /* there is only what the shards say of each other */
    return j->shard_bytes ==
           (data == 1 ? first->blob_bytes : ec_shard_bytes(data, first->blob_bytes));
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* One piece: rebuilds all others, compares those that are there, sums the data.  Clears from *agree
 * what differs.  False: what lies behind the blob's end is not zero, as it must be. */
static bool piece_try(const struct judge *j, const struct ec_plan *plan, uint64_t offset,
                      uint64_t blob_bytes, uint32_t *crc, uint32_t *agree)
{
    const uint8_t *from[EC_DATA_MAX], *piece[EC_SHARDS_MAX] = {0};
    uint8_t *to[EC_SHARDS_MAX];
    size_t len = (size_t)MIN((uint64_t)EC_BLOCK_BYTES, j->shard_bytes - offset);
    unsigned data = j->ec->data;
    for (unsigned i = 0; i < plan->data; i++)
        from[i] = piece[plan->from[i]] = j->shard[plan->from[i]].bytes + offset;
    for (unsigned i = 0; i < plan->wanted; i++)
        piece[plan->want[i]] = to[i] = j->scratch + (size_t)i * EC_BLOCK_BYTES;
    ec_rebuild(plan, len, from, to);
    for (unsigned i = 0; i < plan->wanted; i++) {
        const uint8_t *there = j->shard[plan->want[i]].bytes;
        if (there && memcmp(there + offset, to[i], len) != 0)
            *agree &= ~(1u << plan->want[i]);
    }
    for (unsigned s = 0; s < data && blob_bytes; s++) {
        uint64_t used = data == 1 ? blob_bytes : ec_shard_used(data, blob_bytes, s);
        size_t here = (size_t)MIN(used > offset ? used - offset : 0, (uint64_t)len);
        crc[s] = crc32c(crc[s], SLICE(piece[s], here));
        if (!is_zero(piece[s] + here, len - here))
            return false;
    }
    return true;
}

/* Does the set prove a blob?  *ret_support: the shards that are there and support it. */
static bool set_try(const struct judge *j, uint32_t present, uint32_t set, uint32_t *ret_support)
{
    const struct judge_shard *word = &j->shard[__builtin_ctz(set)];
    unsigned data = j->ec->data;
    uint32_t all = (uint32_t)((UINT64_C(1) << shards_of(j)) - 1), agree = present;
    uint32_t crc[EC_DATA_MAX] = {0};
    struct ec_plan plan;
    if (!words_agree(j, set) || ec_plan_init(&plan, j->ec, set, all & ~set) != OK)
        return false;
    for (uint64_t at = 0; at < j->shard_bytes; at += EC_BLOCK_BYTES)
        if (!piece_try(j, &plan, at, word->blob_bytes, crc, &agree))
            return false;
    uint32_t sum = crc[0];
    for (unsigned s = 1; s < data && word->blob_bytes; s++)
        sum = crc32c_combine(sum, crc[s], ec_shard_used(data, word->blob_bytes, s));
    for (unsigned i = 0; i < shards_of(j); i++)
        if ((agree >> i & 1) && !same_word(&j->shard[i], word))
            agree &= ~(1u << i); /* it would lead others astray */
    *ret_support = agree;
    /* Without a sum only the agreement of all proves anything. */
    return word->blob_bytes ? sum == word->blob_crc32c : agree == present;
}

/* The next larger number with as many bits. */
static uint32_t next_set(uint32_t set)
{
    uint32_t low = set & -set, ripple = set + low;
    return ripple | (((set ^ ripple) >> 2) / low);
}

/* The shards that a set of ranks names: rank r is the r-th shard that is there. */
static uint32_t shards_of_ranks(uint32_t present, uint32_t ranks)
{
    uint32_t set = 0;
    for (; present; present &= present - 1, ranks >>= 1)
        if (ranks & 1)
            set |= present & -present;
    return set;
}

void judge_blob(struct judge *j)
{
    uint32_t present = 0, best = 0, support;
    unsigned data = j->ec->data, rival = 0;
    bool no_rival = false;
    for (unsigned i = 0; i < shards_of(j); i++)
        present |= (uint32_t)(j->shard[i].bytes != NULL) << i;
    unsigned there = count(present);
    j->wrong = j->tries = 0;
    j->verdict = there < data ? JUDGE_TOO_FEW : JUDGE_UNPROVEN;
    if (there < data)
        return;
    uint64_t ranks = (UINT64_C(1) << data) - 1, end = UINT64_C(1) << there;
    for (; ranks < end && !no_rival; ranks = next_set((uint32_t)ranks)) {
        uint32_t set = shards_of_ranks(present, (uint32_t)ranks);
        if (best && (set & ~best) == 0)
            continue; /* of the same blob */
        if (++j->tries > JUDGE_TRIES_MAX)
            break;
        if (!set_try(j, present, set, &support))
            continue;
        rival = MAX(rival, MIN(count(best), count(support)));
        best = count(support) > count(best) ? support : best;
        no_rival = 2 * count(best) > there + data - 1;
    }
    if (!best || (!no_rival && (ranks < end || rival >= count(best))))
        return;
    j->wrong = present & ~best;
    j->verdict = j->wrong ? JUDGE_WRONG : JUDGE_GOOD;
}
