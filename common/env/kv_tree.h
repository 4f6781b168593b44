#pragma once
/* A persistent ordered map (treap): the heart of kv_mem.c.  A tree is a counted reference to its root
 * node, NULL when empty.  A change takes the reference over and returns the new tree's; nodes that
 * only this tree holds are changed in place, shared ones are copied, so that whoever holds another
 * reference sees nothing.  Priorities are hashes of the keys: the shape depends on the content only.
 * Being a tool of tests, it aborts when memory runs out. */
#include "common/base/slice.h"

struct kv_item {
    uint32_t refs, prio;
    uint32_t key_len, value_len;
    uint8_t data[];
};

struct kv_node {
    uint32_t refs;
    struct kv_node *left, *right;
    struct kv_item *item;
    uint64_t count, bytes; /* of this subtree: keys; keys and values */
};

static inline struct slice kv_item_key(const struct kv_item *it)
{
    return SLICE(it->data, it->key_len);
}

static inline struct slice kv_item_value(const struct kv_item *it)
{
    return SLICE(it->data + it->key_len, it->value_len);
}

struct kv_node *kv_tree_ref(struct kv_node *root);
void kv_tree_unref(struct kv_node *root);
struct kv_node *kv_tree_put(struct kv_node *root, struct slice key, struct slice value);
struct kv_node *kv_tree_delete(struct kv_node *root, struct slice key);
/* [lower, upper), an empty upper meaning no bound. */
struct kv_node *kv_tree_delete_range(struct kv_node *root, struct slice lower, struct slice upper);
const struct kv_item *kv_tree_get(const struct kv_node *root, struct slice key); /* NULL: absent */
uint64_t kv_tree_bytes(const struct kv_node *root, struct slice lower, struct slice upper);

/* A position while walking upwards in key order.  Borrows the tree. */
#define KV_TREE_DEPTH_MAX 128 /* a treap of 2^32 keys stays below */
struct kv_walk {
    const struct kv_node *root;
    const struct kv_node *path[KV_TREE_DEPTH_MAX]; /* where it went left, and the position on top */
    unsigned depth;
};
void kv_walk_seek(struct kv_walk *w, struct slice key); /* first key >= key */
void kv_walk_last(struct kv_walk *w, struct slice upper); /* last key < upper (empty: last of all) */
void kv_walk_next(struct kv_walk *w);
const struct kv_item *kv_walk_item(const struct kv_walk *w); /* NULL: at the end */
