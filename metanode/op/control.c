/* Control entries, the registry of witnesses, headers.  See control.h. */
#include "metanode/op/control.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdlib.h>

/* ---- references ---- */

static bool copy_text(char *ret, size_t size, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    if (len >= size)
        return false;
    memcpy(ret, text ? text : "", len + 1);
    return true;
}

int witness_ref_unpack(const Cairn__WitnessRef *m, struct witness_ref *ret)
{
    struct witness_ref ref = {.incarnation = {{0}}};
    if (!id128_from_slice(SLICE(m->incarnation.data, m->incarnation.len), &ref.incarnation) ||
        id128_is_zero(ref.incarnation) || !copy_text(ref.name, sizeof(ref.name), m->name) ||
        !copy_text(ref.addr, sizeof(ref.addr), m->addr) ||
        !copy_text(ref.zone, sizeof(ref.zone), m->zone))
        return ERR_INVAL;
    *ret = ref;
    return OK;
}

void witness_ref_pack(struct witness_ref *ref, Cairn__WitnessRef *ret)
{
    cairn__witness_ref__init(ret);
    ret->incarnation = (ProtobufCBinaryData){ID_BYTES, ref->incarnation.bytes};
    ret->name = ref->name;
    ret->addr = ref->addr;
    ret->zone = ref->zone;
}

/* ---- entries ---- */

static int parse_op(const Cairn__ControlEntry *m, struct control_entry *ret)
{
    switch (m->op_case) {
    case CAIRN__CONTROL_ENTRY__OP_ATTACH:
        ret->kind = CONTROL_ATTACH;
        return witness_ref_unpack(m->attach, &ret->ref);
    case CAIRN__CONTROL_ENTRY__OP_REGISTER:
        ret->kind = CONTROL_REGISTER;
        return witness_ref_unpack(m->register_, &ret->ref);
    case CAIRN__CONTROL_ENTRY__OP_DETACH:
        ret->kind = CONTROL_DETACH;
        return id128_from_slice(SLICE(m->detach.data, m->detach.len), &ret->ref.incarnation)
                   ? OK
                   : ERR_INVAL;
    case CAIRN__CONTROL_ENTRY__OP_DEATH:
        ret->kind = CONTROL_DEATH;
        return id128_from_slice(SLICE(m->death.data, m->death.len), &ret->ref.incarnation)
                   ? OK
                   : ERR_INVAL;
    case CAIRN__CONTROL_ENTRY__OP_RAISE_FLOOR:
        ret->kind = CONTROL_RAISE_FLOOR;
        ret->floor = m->raise_floor;
        return OK;
    default:
        return OK;
    }
}

void control_entry_parse(struct slice data, struct control_entry *ret)
{
    *ret = (struct control_entry){.kind = CONTROL_NONE};
    Cairn__ControlEntry *m = cairn__control_entry__unpack(NULL, data.len, data.ptr);
    if (!m)
        return;
    if (parse_op(m, ret) != OK)
        *ret = (struct control_entry){.kind = CONTROL_NONE};
    ret->time_ms = m->time_ms;
    cairn__control_entry__free_unpacked(m, NULL);
}

void control_entry_pack(struct control_entry *e, struct buf *ret)
{
    Cairn__ControlEntry m = CAIRN__CONTROL_ENTRY__INIT;
    Cairn__WitnessRef ref;
    ProtobufCBinaryData id = {ID_BYTES, e->ref.incarnation.bytes};
    witness_ref_pack(&e->ref, &ref);
    m.time_ms = e->time_ms;
    switch (e->kind) {
    case CONTROL_NONE: break;
    case CONTROL_ATTACH:
        m.op_case = CAIRN__CONTROL_ENTRY__OP_ATTACH;
        m.attach = &ref;
        break;
    case CONTROL_DETACH:
        m.op_case = CAIRN__CONTROL_ENTRY__OP_DETACH;
        m.detach = id;
        break;
    case CONTROL_RAISE_FLOOR:
        m.op_case = CAIRN__CONTROL_ENTRY__OP_RAISE_FLOOR;
        m.raise_floor = e->floor;
        break;
    case CONTROL_REGISTER:
        m.op_case = CAIRN__CONTROL_ENTRY__OP_REGISTER;
        m.register_ = &ref;
        break;
    case CONTROL_DEATH:
        m.op_case = CAIRN__CONTROL_ENTRY__OP_DEATH;
        m.death = id;
        break;
    }
    size_t len = cairn__control_entry__get_packed_size(&m);
    if (buf_reserve(ret, len) == OK)
        ret->len += cairn__control_entry__pack(&m, ret->ptr + ret->len);
}

/* ---- the registry ---- */

struct registration *registry_find(struct registry *g, struct id128 incarnation)
{
    for (unsigned i = 0; i < g->count; i++)
        if (id128_eq(g->live[i].ref.incarnation, incarnation))
            return &g->live[i];
    return NULL;
}

bool registry_is_dead(const struct registry *g, struct id128 incarnation)
{
    for (unsigned i = 0; i < g->dead_count; i++)
        if (id128_eq(g->dead[i], incarnation))
            return true;
    return false;
}

static void registry_add_dead(struct registry *g, struct id128 incarnation)
{
    if (registry_is_dead(g, incarnation))
        return;
    if (g->dead_count == REGISTRY_DEAD_MAX) {
        memmove(&g->dead[0], &g->dead[1], (REGISTRY_DEAD_MAX - 1) * sizeof(g->dead[0]));
        g->dead_count--;
    }
    g->dead[g->dead_count++] = incarnation;
}

static void registry_remove(struct registry *g, struct id128 incarnation)
{
    struct registration *w = registry_find(g, incarnation);
    if (!w)
        return;
    size_t i = (size_t)(w - g->live);
    g->count--;
    memmove(w, w + 1, (g->count - i) * sizeof(*w));
}

/* Every replica of the root comes to the same registry: only the log decides. */
static bool registry_apply(struct registry *g, uint64_t index, const struct control_entry *e)
{
    if (e->kind == CONTROL_DEATH) {
        registry_remove(g, e->ref.incarnation);
        registry_add_dead(g, e->ref.incarnation);
    } else if (e->kind == CONTROL_REGISTER) {
        if (registry_is_dead(g, e->ref.incarnation) || registry_find(g, e->ref.incarnation) ||
            g->count == REGISTRY_MAX)
            return false;
        g->live[g->count++] = (struct registration){.ref = e->ref, .index = index};
    } else {
        return false;
    }
    g->version = index;
    return true;
}

/* ---- the state ---- */

void control_init(struct control *c, bool root)
{
    memset(c, 0, sizeof(*c));
    c->root = root;
}

void control_fini(struct control *c)
{
    free(c->registry.dead);
    free(c->pending);
    memset(c, 0, sizeof(*c));
}

struct witness_ref *control_ref(struct control *c, struct id128 incarnation)
{
    for (unsigned i = 0; i < c->ref_count; i++)
        if (id128_eq(c->refs[i].incarnation, incarnation))
            return &c->refs[i];
    return NULL;
}

/* Remembers an address; forgets those that are in the log's table no more when room is needed. */
static void refs_add(struct control *c, const struct visible *v, const struct witness_ref *ref)
{
    if (control_ref(c, ref->incarnation))
        return;
    if (c->ref_count == VISIBLE_SLOTS_MAX) {
        unsigned kept = 0;
        for (unsigned i = 0; i < c->ref_count; i++)
            if (visible_find(v, c->refs[i].incarnation) >= 0)
                c->refs[kept++] = c->refs[i];
        c->ref_count = kept;
    }
    if (c->ref_count < VISIBLE_SLOTS_MAX)
        c->refs[c->ref_count++] = *ref;
}

static int restore_root(struct control *c, const Cairn__ControlHeader *h)
{
    struct registry *g = &c->registry;
    if (h->n_registered > REGISTRY_MAX || h->n_registered_index != h->n_registered ||
        h->n_dead > REGISTRY_DEAD_MAX)
        return ERR_CORRUPT;
    for (size_t i = 0; i < h->n_registered; i++) {
        struct registration *w = &g->live[g->count];
        *w = (struct registration){.index = h->registered_index[i]};
        if (witness_ref_unpack(h->registered[i], &w->ref) != OK)
            return ERR_CORRUPT;
        g->count++;
    }
    for (size_t i = 0; i < h->n_dead; i++) {
        struct id128 id;
        if (!id128_from_slice(SLICE(h->dead[i].data, h->dead[i].len), &id))
            return ERR_CORRUPT;
        registry_add_dead(g, id);
    }
    g->version = h->index;
    return OK;
}

static int restore_header(struct control *c, struct visible *v, const Cairn__ControlHeader *h)
{
    c->time_ms = h->time_ms;
    for (size_t i = 0; i < h->n_attached; i++) {
        struct witness_ref ref;
        if (witness_ref_unpack(h->attached[i], &ref) != OK)
            return ERR_CORRUPT;
        int err = visible_restore_attached(v, ref.incarnation);
        if (err != OK)
            return err;
        refs_add(c, v, &ref);
    }
    return c->root ? restore_root(c, h) : OK;
}

int control_restore(struct control *c, struct visible *v, struct slice header, uint64_t index,
                    uint64_t visible)
{
    bool root = c->root;
    control_fini(c);
    control_init(c, root);
    visible_restore(v, index, visible);
    if (root) {
        c->registry.dead = calloc(REGISTRY_DEAD_MAX, sizeof(struct id128));
        if (!c->registry.dead)
            return ERR_NOMEM;
    }
    if (header.len == 0)
        return OK;
    Cairn__ControlHeader *h = cairn__control_header__unpack(NULL, header.len, header.ptr);
    if (!h)
        return ERR_CORRUPT;
    int err = h->index == index ? restore_header(c, v, h) : ERR_CORRUPT;
    cairn__control_header__free_unpacked(h, NULL);
    return err;
}

static int pending_add(struct control *c, uint64_t index, const struct control_entry *e)
{
    if (c->pending_count == c->pending_cap) {
        size_t cap = c->pending_cap ? 2 * c->pending_cap : 8;
        void *grown = realloc(c->pending, cap * sizeof(*c->pending));
        if (!grown)
            return ERR_NOMEM;
        c->pending = grown;
        c->pending_cap = cap;
    }
    c->pending[c->pending_count++] = (struct control_pending){.index = index, .entry = *e};
    return OK;
}

int control_append(struct control *c, struct visible *v, uint64_t index, bool is_control,
                   struct slice data, uint64_t time_ms)
{
    static const struct id128 none = {{0}};
    struct control_entry e;
    int err;
    if (time_ms > c->time_ms)
        c->time_ms = time_ms;
    if (!is_control)
        return visible_append(v, index, VISIBLE_ENTRY_OTHER, none);
    control_entry_parse(data, &e);
    if (e.time_ms > c->time_ms)
        c->time_ms = e.time_ms;
    c->last_index = index;
    switch (e.kind) {
    case CONTROL_ATTACH:
        err = visible_append(v, index, VISIBLE_ENTRY_ATTACH, e.ref.incarnation);
        if (err == OK)
            refs_add(c, v, &e.ref);
        return err;
    case CONTROL_DETACH:
        return visible_append(v, index, VISIBLE_ENTRY_DETACH, e.ref.incarnation);
    case CONTROL_REGISTER:
    case CONTROL_DEATH:
        if (c->root) {
            err = pending_add(c, index, &e);
            if (err != OK)
                return err;
        }
        /* fall through */
    case CONTROL_NONE:
    case CONTROL_RAISE_FLOOR:
        break;
    }
    return visible_append(v, index, VISIBLE_ENTRY_OTHER, none);
}

void control_truncate(struct control *c, struct visible *v, uint64_t index)
{
    visible_truncate(v, index);
    while (c->pending_count > 0 && c->pending[c->pending_count - 1].index >= index)
        c->pending_count--;
}

bool control_commit(struct control *c, struct visible *v, uint64_t index)
{
    bool changed = false;
    size_t done = 0;
    visible_commit(v, index);
    while (done < c->pending_count && c->pending[done].index <= index) {
        changed |= registry_apply(&c->registry, c->pending[done].index, &c->pending[done].entry);
        done++;
    }
    if (done > 0) {
        c->pending_count -= done;
        memmove(c->pending, c->pending + done, c->pending_count * sizeof(*c->pending));
    }
    return changed;
}

/* ---- the header ---- */

struct header_refs {
    struct control *control;
    Cairn__WitnessRef refs[VISIBLE_SLOTS_MAX], *ptrs[VISIBLE_SLOTS_MAX];
    size_t count;
};

static void header_add(void *arg, struct id128 incarnation)
{
    struct header_refs *h = arg;
    struct witness_ref *ref = control_ref(h->control, incarnation);
    CHECK(ref && h->count < VISIBLE_SLOTS_MAX);
    witness_ref_pack(ref, &h->refs[h->count]);
    h->ptrs[h->count] = &h->refs[h->count];
    h->count++;
}

static void header_root(struct control *c, Cairn__ControlHeader *m, struct header_refs *regs,
                        uint64_t *indexes, ProtobufCBinaryData *dead)
{
    struct registry *g = &c->registry;
    for (unsigned i = 0; i < g->count; i++) {
        /* One that was registered behind the header's index follows in the log. */
        if (g->live[i].index > m->index)
            continue;
        indexes[regs->count] = g->live[i].index;
        witness_ref_pack(&g->live[i].ref, &regs->refs[regs->count]);
        regs->ptrs[regs->count] = &regs->refs[regs->count];
        regs->count++;
    }
    /* A death behind the index is told early: what is committed is true on every replica. */
    for (unsigned i = 0; i < g->dead_count; i++)
        dead[i] = (ProtobufCBinaryData){ID_BYTES, g->dead[i].bytes};
    m->n_registered = m->n_registered_index = regs->count;
    m->registered = regs->ptrs;
    m->registered_index = indexes;
    m->n_dead = g->dead_count;
    m->dead = dead;
}

void control_header(struct control *c, const struct visible *v, uint64_t index, uint64_t term,
                    uint64_t epoch, const uint64_t *voters, size_t voter_count, struct buf *ret)
{
    Cairn__ControlHeader m = CAIRN__CONTROL_HEADER__INIT;
    struct header_refs *attached = calloc(2, sizeof(*attached));
    uint64_t indexes[REGISTRY_MAX];
    ProtobufCBinaryData *dead = c->root ? calloc(REGISTRY_DEAD_MAX, sizeof(*dead)) : NULL;
    if (!attached || (c->root && !dead)) {
        ret->failed = true;
    } else {
        m.index = index;
        m.term = term;
        m.epoch = epoch;
        m.n_voters = voter_count;
        m.voters = (uint64_t *)(uintptr_t)voters;
        m.time_ms = c->time_ms;
        attached->control = c;
        visible_header(v, index, header_add, attached);
        m.n_attached = attached->count;
        m.attached = attached->ptrs;
        if (c->root)
            header_root(c, &m, &attached[1], indexes, dead);
        size_t len = cairn__control_header__get_packed_size(&m);
        if (buf_reserve(ret, len) == OK)
            ret->len += cairn__control_header__pack(&m, ret->ptr + ret->len);
    }
    free(attached);
    free(dead);
}
