/* The interpreter of golden scripts: see script.h. */
#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster.h"
#include "common/base/check.h"
#include "common/base/err.h"

#define WORDS_MAX 16

struct script {
    struct cluster c;
    bool made;
    struct buf *out;
    const char *words[WORDS_MAX];
    int word_count;
};

/* ---- words ---- */

/* The n-th word after the command that is not name=value, as a number; 0 if there is none. */
static uint64_t number(const struct script *s, int n)
{
    for (int i = 1; i < s->word_count; i++) {
        if (strchr(s->words[i], '='))
            continue;
        if (n-- == 0)
            return strtoull(s->words[i], NULL, 10);
    }
    return 0;
}

static const char *named(const struct script *s, const char *name)
{
    size_t len = strlen(name);
    for (int i = 1; i < s->word_count; i++) {
        if (strncmp(s->words[i], name, len) == 0 && s->words[i][len] == '=')
            return s->words[i] + len + 1;
    }
    return NULL;
}

static uint64_t named_number(const struct script *s, const char *name, uint64_t otherwise)
{
    const char *v = named(s, name);
    return v ? strtoull(v, NULL, 10) : otherwise;
}

static bool has_word(const struct script *s, const char *word)
{
    for (int i = 1; i < s->word_count; i++) {
        if (strcmp(s->words[i], word) == 0)
            return true;
    }
    return false;
}

/* ---- making a cluster ---- */

static void cmd_cluster(struct script *s)
{
    if (s->made)
        cluster_fini(&s->c);
    uint32_t voters = (uint32_t)number(s, 0);
    uint32_t learners = (uint32_t)named_number(s, "learners", 0);
    cluster_init(&s->c, voters + learners, 1);
    s->made = true;
    s->c.trace = s->out;
    struct raft_options *o = &s->c.options;
    o->config.voter_count = voters;
    o->config.learner_count = learners;
    for (uint32_t i = 0; i < learners; i++)
        o->config.learners[i] = voters + i + 1;
    o->append_entries_max = (uint32_t)named_number(s, "batch", 0);
    o->inflight_messages_max = (uint32_t)named_number(s, "inflight", 0);
    o->uncommitted_bytes_max = named_number(s, "uncommitted", 0);
    o->unapplied_bytes_max = named_number(s, "unapplied", 0);
    o->lease_enabled = named_number(s, "lease", 1) != 0;
    o->sleep_after_ns = named_number(s, "sleep", 0) * MS;
    s->c.trace_heartbeats = has_word(s, "heartbeats");
    s->c.visible_by_hand = has_word(s, "witnesses");
}

/* node ID term=T vote=V log=t,t,t: what is on its disk. */
static void cmd_node(struct script *s)
{
    struct node *n = cluster_node(&s->c, number(s, 0));
    n->term = named_number(s, "term", 0);
    n->vote = named_number(s, "vote", 0);
    const char *log = named(s, "log");
    while (log && *log) {
        char *end;
        uint64_t term = strtoull(log, &end, 10);
        n->disk.last++;
        n->disk.at[n->disk.last] =
            (struct entry){.term = term, .value = term * 1000 + n->disk.last, .bytes = 10};
        log = *end == ',' ? end + 1 : end;
    }
}

static void cmd_up(struct script *s)
{
    uint64_t only = number(s, 0);
    for (uint64_t id = 1; id <= s->c.node_count; id++) {
        if ((only && id != only) || cluster_node(&s->c, id)->raft)
            continue;
        int err = cluster_start(&s->c, id);
        if (err)
            cluster_say(&s->c, "%d: %s", (int)id, err_name(err));
    }
}

/* ---- time ---- */

static void cmd_time(struct script *s)
{
    s->c.now_ns += number(s, 0) * MS;
    if (!has_word(s, "silently")) {
        for (uint64_t id = 1; id <= s->c.node_count; id++) {
            if (cluster_node(&s->c, id)->raft)
                cluster_tick(&s->c, id);
        }
    }
}

/* Lets the node's next deadline pass, for this node only. */
static void cmd_timeout(struct script *s)
{
    struct node *n = cluster_node(&s->c, number(s, 0));
    s->c.now_ns = MAX(s->c.now_ns, raft_next_deadline(n->raft));
    cluster_tick(&s->c, n->id);
}

/* ---- network and disks ---- */

static bool selected(const struct script *s, const struct packet *p)
{
    const char *type = named(s, "type");
    return (!named(s, "from") || p->m.from == named_number(s, "from", 0)) &&
           (!named(s, "to") || p->m.to == named_number(s, "to", 0)) &&
           (!type || (!p->snapshot && strcmp(type, message_name(p->m.type)) == 0) ||
            (p->snapshot && strcmp(type, "snapshot") == 0));
}

/* Those under way now: what they cause stays under way. */
static void each_packet(struct script *s, bool deliver)
{
    bool twice = has_word(s, "twice");
    uint64_t most = named_number(s, "n", UINT64_MAX);
    uint32_t left = s->c.net_count;
    for (uint32_t i = 0; left > 0 && most > 0; left--) {
        if (!selected(s, &s->c.net[i])) {
            i++;
            continue;
        }
        most--;
        if (deliver)
            cluster_deliver(&s->c, i, twice);
        else
            cluster_drop(&s->c, i);
    }
}

static void cmd_cut(struct script *s)
{
    uint64_t a = number(s, 0), b = number(s, 1);
    for (uint64_t k = 1; k <= s->c.node_count; k++) {
        if (b && k != b)
            continue;
        s->c.cut[a][k] = true;
        s->c.cut[k][a] = s->c.cut[k][a] || !has_word(s, "oneway");
    }
}

static void cmd_settle(struct script *s)
{
    struct buf *trace = s->c.trace;
    if (has_word(s, "silently"))
        s->c.trace = NULL;
    cluster_settle(&s->c, 200);
    s->c.trace = trace;
}

static void cmd_run(struct script *s)
{
    struct buf *trace = s->c.trace;
    if (has_word(s, "silently"))
        s->c.trace = NULL;
    cluster_run(&s->c, number(s, 0) * MS);
    s->c.trace = trace;
}

static void cmd_sync(struct script *s)
{
    cluster_sync(&s->c, number(s, 0), (uint32_t)named_number(s, "n", UINT32_MAX));
}

/* ---- clients and operators ---- */

static void cmd_propose(struct script *s)
{
    enum raft_entry_kind kind = has_word(s, "control") ? RAFT_ENTRY_CONTROL : RAFT_ENTRY_NORMAL;
    cluster_propose(&s->c, number(s, 0), kind, (uint32_t)named_number(s, "bytes", 10),
                    (uint32_t)named_number(s, "count", 1));
}

static void cmd_lease(struct script *s)
{
    struct node *n = cluster_node(&s->c, number(s, 0));
    cluster_say(&s->c, "%d %s", (int)n->id,
                raft_lease_valid(n->raft, node_now(&s->c, n)) ? "holds the lease" : "has no lease");
}

static void cmd_transfer(struct script *s)
{
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .peer = number(s, 1)};
    cluster_step(&s->c, cluster_node(&s->c, number(s, 0)), &ev, NULL);
}

static void cmd_visible(struct script *s)
{
    struct node *n = cluster_node(&s->c, number(s, 0));
    int err = raft_set_visible(n->raft, number(s, 1));
    if (err)
        cluster_say(&s->c, "%s", err_name(err));
    n->applied = MAX(n->applied, raft_visible(n->raft));
    raft_set_applied(n->raft, n->applied);
}

static void cmd_compact(struct script *s)
{
    struct node *n = cluster_node(&s->c, number(s, 0));
    n->applied_durable = n->applied;
    bool known = raft_term_at(n->raft, n->applied, &n->applied_durable_term);
    CHECK(known);
    int err = cluster_compact(&s->c, n->id, number(s, 1));
    if (err)
        cluster_say(&s->c, "%s", err_name(err));
}

/* ---- what there is ---- */

static void say_log(struct script *s, const struct node *n, const struct disk_log *l)
{
    char line[400];
    int at = snprintf(line, sizeof(line), "%d:", (int)n->id);
    if (l->compact_index)
        at += snprintf(line + at, sizeof(line) - (size_t)at, " (..%d)", (int)l->compact_index);
    for (uint64_t i = l->compact_index + 1; i <= l->last && at < 380; i++)
        at += snprintf(line + at, sizeof(line) - (size_t)at, " %d", (int)l->at[i].term);
    cluster_say(&s->c, "%s", line);
}

static void cmd_logs(struct script *s)
{
    for (uint32_t i = 0; i < s->c.node_count; i++)
        say_log(s, &s->c.nodes[i], s->c.nodes[i].raft ? &s->c.nodes[i].log : &s->c.nodes[i].disk);
}

static void cmd_state(struct script *s)
{
    for (uint32_t i = 0; i < s->c.node_count; i++) {
        const struct raft *r = s->c.nodes[i].raft;
        if (!r) {
            cluster_say(&s->c, "%d: down", (int)i + 1);
            continue;
        }
        cluster_say(&s->c, "%d: %s term %d leader %d, log %d/%d synced %d commit %d visible %d%s",
                    (int)i + 1, role_name(raft_role(r)), (int)raft_term(r), (int)raft_leader(r),
                    (int)raft_last_index(r), (int)raft_last_term(r), (int)raft_synced_index(r),
                    (int)raft_commit(r), (int)raft_visible(r), raft_is_asleep(r) ? ", asleep" : "");
    }
}

static void cmd_peer(struct script *s)
{
    struct raft_peer_status p;
    if (!raft_peer(cluster_node(&s->c, number(s, 0))->raft, number(s, 1), &p)) {
        cluster_say(&s->c, "no leader, or no such peer");
        return;
    }
    cluster_say(&s->c, "match %d next %d, %s, %d under way", (int)p.match, (int)p.next,
                p.probing        ? "probing"
                : p.snapshotting ? "awaiting a snapshot"
                                 : "replicating",
                (int)p.inflight_messages);
}

/* ---- running ---- */

static void cmd_tick(struct script *s)
{
    cluster_tick(&s->c, number(s, 0));
}
static void cmd_deliver(struct script *s)
{
    each_packet(s, true);
}
static void cmd_drop(struct script *s)
{
    each_packet(s, false);
}
static void cmd_read(struct script *s)
{
    cluster_read(&s->c, number(s, 0), number(s, 1));
}
static void cmd_crash(struct script *s)
{
    cluster_crash(&s->c, number(s, 0), 0);
}
static void cmd_lost(struct script *s)
{
    cluster_lost(&s->c, number(s, 0), number(s, 1));
}
static void cmd_heal(struct script *s)
{
    memset(s->c.cut, 0, sizeof(s->c.cut));
}

static const struct {
    const char *name;
    void (*run)(struct script *s);
} commands[] = {
    {"cluster", cmd_cluster}, {"node", cmd_node},       {"up", cmd_up},
    {"time", cmd_time},       {"timeout", cmd_timeout}, {"tick", cmd_tick},
    {"settle", cmd_settle},   {"run", cmd_run},         {"deliver", cmd_deliver},
    {"drop", cmd_drop},       {"sync", cmd_sync},       {"propose", cmd_propose},
    {"read", cmd_read},       {"lease", cmd_lease},     {"transfer", cmd_transfer},
    {"crash", cmd_crash},     {"cut", cmd_cut},         {"heal", cmd_heal},
    {"visible", cmd_visible}, {"compact", cmd_compact}, {"state", cmd_state},
    {"logs", cmd_logs},       {"peer", cmd_peer},       {"lost", cmd_lost},
};

static void command_run(struct script *s, char *line)
{
    s->word_count = 0;
    for (char *w = strtok(line, " "); w && s->word_count < WORDS_MAX; w = strtok(NULL, " "))
        s->words[s->word_count++] = w;
    for (size_t i = 0; s->word_count && i < ARRAY_COUNT(commands); i++) {
        if (strcmp(commands[i].name, s->words[0]) == 0) {
            commands[i].run(s);
            return;
        }
    }
    buf_cstr(s->out, "no such command\n");
}

void script_run(struct slice text, struct buf *ret)
{
    struct script *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    s->out = ret;
    size_t at = 0;
    while (at < text.len) {
        const uint8_t *nl = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = nl ? (size_t)(nl - (text.ptr + at)) : text.len - at;
        char line[400];
        snprintf(line, sizeof(line), "%.*s", (int)MIN(len, sizeof(line) - 1),
                 (const char *)text.ptr + at);
        at += len + 1;
        if (line[0] != '>' && line[0] != '#' && line[0] != '\0')
            continue; /* what it said before */
        buf_cstr(ret, line);
        buf_cstr(ret, "\n");
        if (line[0] == '>')
            command_run(s, line + 1);
    }
    if (s->made)
        cluster_fini(&s->c);
    free(s);
}
