/* The persistent treap behind kv_mem.c; see kv_tree.h. */
#include "common/env/kv_tree.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#include <stdlib.h>

static void *must_alloc(size_t bytes)
{
    void *p = malloc(bytes);
    CHECK(p != NULL);
    return p;
}

static void item_unref(struct kv_item *it)
{
    if (--it->refs == 0)
        free(it);
}

static struct kv_item *item_new(struct slice key, struct slice value)
{
    CHECK(key.len <= UINT32_MAX && value.len <= UINT32_MAX);
    struct kv_item *it = must_alloc(sizeof(*it) + key.len + value.len);
    it->refs = 1;
    it->prio = (uint32_t)hash64(0, key);
    it->key_len = (uint32_t)key.len;
    it->value_len = (uint32_t)value.len;
    if (key.len)
        memcpy(it->data, key.ptr, key.len);
    if (value.len)
        memcpy(it->data + key.len, value.ptr, value.len);
    return it;
}

struct kv_node *kv_tree_ref(struct kv_node *n)
{
    if (n)
        n->refs++;
    return n;
}

void kv_tree_unref(struct kv_node *n)
{
    if (!n || --n->refs > 0)
        return;
    kv_tree_unref(n->left);
    kv_tree_unref(n->right);
    item_unref(n->item);
    free(n);
}

static uint64_t item_bytes(const struct kv_item *it)
{
    return (uint64_t)it->key_len + it->value_len;
}

static void sum(struct kv_node *n)
{
    n->count = 1 + (n->left ? n->left->count : 0) + (n->right ? n->right->count : 0);
    n->bytes = item_bytes(n->item) + (n->left ? n->left->bytes : 0) + (n->right ? n->right->bytes : 0);
}

/* Turns a reference to n into one to a node that nobody else holds. */
static struct kv_node *own(struct kv_node *n)
{
    if (n->refs == 1)
        return n;
    struct kv_node *copy = must_alloc(sizeof(*copy));
    *copy = *n;
    copy->refs = 1;
    kv_tree_ref(copy->left);
    kv_tree_ref(copy->right);
    copy->item->refs++;
    n->refs--;
    return copy;
}

/* Splits into keys < key and keys >= key; takes n over. */
static void split(struct kv_node *n, struct slice key, struct kv_node **ret_lt, struct kv_node **ret_ge)
{
    if (!n) {
        *ret_lt = *ret_ge = NULL;
        return;
    }
    n = own(n);
    if (slice_cmp(kv_item_key(n->item), key) < 0) {
        split(n->right, key, &n->right, ret_ge);
        *ret_lt = n;
    } else {
        split(n->left, key, ret_lt, &n->left);
        *ret_ge = n;
    }
    sum(n);
}

/* Every key of a is below every key of b; takes both over. */
static struct kv_node *join(struct kv_node *a, struct kv_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->item->prio >= b->item->prio) {
        a = own(a);
        a->right = join(a->right, b);
        sum(a);
        return a;
    }
    b = own(b);
    b->left = join(a, b->left);
    sum(b);
    return b;
}

/* Takes n and the item over.  An equal key has the same priority, so it cannot lie below a node of
 * lower priority: splitting there never meets it. */
static struct kv_node *insert(struct kv_node *n, struct kv_item *it)
{
    struct slice key = kv_item_key(it);
    int c = n ? slice_cmp(key, kv_item_key(n->item)) : 0;
    if (!n || (c != 0 && it->prio > n->item->prio)) {
        struct kv_node *top = must_alloc(sizeof(*top));
        *top = (struct kv_node){.refs = 1, .item = it};
        split(n, key, &top->left, &top->right);
        sum(top);
        return top;
    }
    n = own(n);
    if (c == 0) {
        item_unref(n->item);
        n->item = it;
    } else if (c < 0) {
        n->left = insert(n->left, it);
    } else {
        n->right = insert(n->right, it);
    }
    sum(n);
    return n;
}

struct kv_node *kv_tree_put(struct kv_node *root, struct slice key, struct slice value)
{
    return insert(root, item_new(key, value));
}

static struct kv_node *erase(struct kv_node *n, struct slice key)
{
    n = own(n);
    int c = slice_cmp(key, kv_item_key(n->item));
    if (c < 0) {
        n->left = erase(n->left, key);
    } else if (c > 0) {
        n->right = erase(n->right, key);
    } else {
        struct kv_node *rest = join(n->left, n->right);
        n->left = n->right = NULL;
        kv_tree_unref(n);
        return rest;
    }
    sum(n);
    return n;
}

struct kv_node *kv_tree_delete(struct kv_node *root, struct slice key)
{
    /* Looked up first: deleting what is not there must not copy the path. */
    return kv_tree_get(root, key) ? erase(root, key) : root;
}

struct kv_node *kv_tree_delete_range(struct kv_node *root, struct slice lower, struct slice upper)
{
    struct kv_walk w = {.root = root};
    kv_walk_seek(&w, lower);
    const struct kv_item *first = kv_walk_item(&w);
    if (!first || (upper.len && slice_cmp(kv_item_key(first), upper) >= 0))
        return root;
    struct kv_node *below, *middle, *above = NULL;
    split(root, lower, &below, &middle);
    if (upper.len)
        split(middle, upper, &middle, &above);
    kv_tree_unref(middle);
    return join(below, above);
}

const struct kv_item *kv_tree_get(const struct kv_node *n, struct slice key)
{
    while (n) {
        int c = slice_cmp(key, kv_item_key(n->item));
        if (c == 0)
            return n->item;
        n = c < 0 ? n->left : n->right;
    }
    return NULL;
}

/* Bytes of the keys below `key`. */
static uint64_t bytes_below(const struct kv_node *n, struct slice key)
{
    uint64_t total = 0;
    while (n) {
        if (slice_cmp(kv_item_key(n->item), key) < 0) {
            total += item_bytes(n->item) + (n->left ? n->left->bytes : 0);
            n = n->right;
        } else {
            n = n->left;
        }
    }
    return total;
}

uint64_t kv_tree_bytes(const struct kv_node *root, struct slice lower, struct slice upper)
{
    if (!root)
        return 0;
    uint64_t end = upper.len ? bytes_below(root, upper) : root->bytes;
    uint64_t start = bytes_below(root, lower);
    return end > start ? end - start : 0;
}

static void walk_push(struct kv_walk *w, const struct kv_node *n)
{
    CHECK(w->depth < KV_TREE_DEPTH_MAX);
    w->path[w->depth++] = n;
}

void kv_walk_seek(struct kv_walk *w, struct slice key)
{
    w->depth = 0;
    const struct kv_node *n = w->root;
    while (n) {
        if (slice_cmp(kv_item_key(n->item), key) >= 0) {
            walk_push(w, n);
            n = n->left;
        } else {
            n = n->right;
        }
    }
}

void kv_walk_last(struct kv_walk *w, struct slice upper)
{
    const struct kv_node *n = w->root, *best = NULL;
    while (n) {
        if (!upper.len || slice_cmp(kv_item_key(n->item), upper) < 0) {
            best = n;
            n = n->right;
        } else {
            n = n->left;
        }
    }
    /* Seeking to it leaves the path that walking on needs. */
    w->depth = 0;
    if (best)
        kv_walk_seek(w, kv_item_key(best->item));
}

void kv_walk_next(struct kv_walk *w)
{
    CHECK(w->depth > 0);
    const struct kv_node *n = w->path[--w->depth]->right;
    while (n) {
        walk_push(w, n);
        n = n->left;
    }
}

const struct kv_item *kv_walk_item(const struct kv_walk *w)
{
    return w->depth ? w->path[w->depth - 1]->item : NULL;
}
