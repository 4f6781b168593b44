/* Reed-Solomon by ISA-L; see ec.h.  Rebuilding: J. S. Plank, "A Tutorial on Reed-Solomon Coding for
 * Fault-Tolerance in RAID-like Systems" (1997): the rows of the shards at hand form a k by k
 * matrix, whose inverse gives the data; a row of the code times the inverse gives any other shard.
 */
#include "common/ec/ec.h"

#include "common/base/check.h"

#include <isa-l/erasure_code.h>

int ec_init(struct ec *ec, unsigned data, unsigned parity)
{
    if (data < 1 || data > EC_DATA_MAX || parity < 1 || parity > EC_PARITY_MAX)
        return ERR_INVAL;
    ec->data = data;
    ec->parity = parity;
    gf_gen_cauchy1_matrix(ec->matrix, (int)(data + parity), (int)data);
    if (data == 1) /* one data shard: any coefficient decodes, 1 makes parity a plain copy */
        memset(ec->matrix, 1, parity + 1);
    ec_init_tables((int)data, (int)parity, ec->matrix + data * data, ec->tables);
    return OK;
}

uint64_t ec_shard_bytes(unsigned data, uint64_t bytes)
{
    CHECK(data > 0 && bytes > 0 && bytes <= UINT64_MAX - (uint64_t)data * EC_BLOCK_BYTES);
    uint64_t each = (bytes + data - 1) / data;
    return (each + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES * EC_BLOCK_BYTES;
}

/* ISA-L takes its pointers without const, and does not write through the sources. */
static unsigned char **sources(const uint8_t *const *p)
{
    return (unsigned char **)(uintptr_t)p;
}

void ec_encode(const struct ec *ec, size_t len, const uint8_t *const *data, uint8_t *const *parity)
{
    CHECK(len > 0 && len <= INT32_MAX);
    ec_encode_data((int)len, (int)ec->data, (int)ec->parity, (unsigned char *)(uintptr_t)ec->tables,
                   sources(data), (unsigned char **)(uintptr_t)parity);
}

/* Row `shard` of the code times the inverse: shard = row * data, data = inverse * shards at hand.
 */
static void multiply_row(const struct ec *ec, const uint8_t *inverse, unsigned shard, uint8_t *ret)
{
    unsigned k = ec->data;
    for (unsigned col = 0; col < k; col++) {
        uint8_t sum = 0;
        for (unsigned i = 0; i < k; i++)
            sum ^= gf_mul(ec->matrix[shard * k + i], inverse[i * k + col]);
        ret[col] = sum;
    }
}

int ec_plan_init(struct ec_plan *plan, const struct ec *ec, uint32_t have, uint32_t want)
{
    uint8_t rows[EC_DATA_MAX * EC_DATA_MAX], inverse[EC_DATA_MAX * EC_DATA_MAX];
    uint8_t coefficients[EC_SHARDS_MAX * EC_DATA_MAX];
    unsigned k = ec->data, n = ec->data + ec->parity, got = 0;
    uint32_t all = (uint32_t)((UINT64_C(1) << n) - 1);
    if ((have & want) != 0 || want == 0 || ((have | want) & ~all) != 0)
        return ERR_INVAL;
    for (unsigned i = 0; i < n && got < k; i++) {
        if (!(have & 1u << i))
            continue;
        memcpy(rows + got * k, ec->matrix + i * k, k);
        plan->from[got++] = (uint8_t)i;
    }
    if (got < k)
        return ERR_NO_QUORUM;
    int singular = gf_invert_matrix(rows, inverse, (int)k);
    CHECK(!singular); /* any k rows of a Cauchy code are independent */
    plan->data = k;
    plan->wanted = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!(want & 1u << i))
            continue;
        multiply_row(ec, inverse, i, coefficients + plan->wanted * k);
        plan->want[plan->wanted++] = (uint8_t)i;
    }
    ec_init_tables((int)k, (int)plan->wanted, coefficients, plan->tables);
    return OK;
}

void ec_rebuild(const struct ec_plan *plan, size_t len, const uint8_t *const *from,
                uint8_t *const *to)
{
    CHECK(len > 0 && len <= INT32_MAX);
    ec_encode_data((int)len, (int)plan->data, (int)plan->wanted,
                   (unsigned char *)(uintptr_t)plan->tables, sources(from),
                   (unsigned char **)(uintptr_t)to);
}
