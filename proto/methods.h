#pragma once
/* Every call and cast between the cluster's processes, with who may make it. */
#include "common/rpc/rpc.h"

/* X(number, identifier, "name", request type, response type, roles).  Numbers are on the wire. */
#define METHOD_GW NET_ROLE_GATEWAY
#define METHOD_MN NET_ROLE_METANODE
#define METHOD_SN NET_ROLE_STORAGENODE
#define METHOD_WT NET_ROLE_WITNESS
#define METHOD_TABLE(X)                                                                            \
    X(1, method_meta_propose, "meta.propose", propose_request, propose_response,                   \
      METHOD_GW | METHOD_MN)     \
    X(2, method_meta_read, "meta.read", read_request, read_response, METHOD_GW | METHOD_MN)                 \
    X(3, method_meta_list, "meta.list", list_request, list_response, METHOD_GW)                      \
    X(4, method_meta_list_uploads, "meta.list_uploads", list_uploads_request,                      \
      list_uploads_response, METHOD_GW)                                                              \
    X(5, method_meta_list_parts, "meta.list_parts", list_parts_request, list_parts_response,       \
      METHOD_GW)                                                                                     \
    X(6, method_meta_read_part_body, "meta.read_part_body", read_part_body_request,                \
      read_part_body_response, METHOD_GW)                                                            \
    X(7, method_meta_list_buckets, "meta.list_buckets", list_buckets_request,                      \
      list_buckets_response, METHOD_GW)                                                              \
    X(8, method_meta_cluster_map, "meta.cluster_map", cluster_map_request, cluster_map_response,   \
      METHOD_GW | METHOD_MN | METHOD_SN | METHOD_WT)                                                                      \
    X(9, method_meta_status, "meta.status", meta_status_request, meta_status_response,             \
      METHOD_GW | METHOD_MN)                                                                                \
    X(10, method_meta_blob_refs, "meta.blob_refs", blob_refs_request, blob_refs_response,          \
      METHOD_SN)                                                                       \
    X(11, method_meta_list_segments, "meta.list_segments", list_segments_request,                  \
      list_segments_response, METHOD_GW)                                               \
    X(12, method_meta_interim, "meta.interim", interim_request, interim_response,                  \
      METHOD_GW)                                                                       \
    X(13, method_meta_rows, "meta.rows", list_rows_request, list_rows_response, METHOD_GW)         \
    X(14, method_meta_list_events, "meta.list_events", list_events_request, list_events_response,  \
      METHOD_GW)                                                                       \
    X(15, method_meta_event_queues, "meta.event_queues", event_queues_request,                     \
      event_queues_response, METHOD_GW)                                                            \
    X(20, method_raft_snapshot_chunk, "raft.snapshot_chunk", snapshot_chunk_request,               \
      snapshot_chunk_response, METHOD_MN)                                                                 \
    X(30, method_witness_open, "witness.open", stream_open_request, stream_open_response, METHOD_MN)      \
    X(31, method_witness_append, "witness.append", stream_append_request, stream_append_response,  \
      METHOD_MN)                                                                                          \
    X(32, method_witness_check, "witness.check", check_request, check_response, METHOD_GW)                \
    X(33, method_root_lease, "root.lease", lease_request, lease_response, METHOD_WT)                      \
    X(34, method_root_report_witness, "root.report_witness", report_witness_request,               \
      report_witness_response, METHOD_MN)                                                                 \
    X(35, method_root_witness_set, "root.witness_set", witness_set_request, witness_set_response,  \
      METHOD_MN)                                                                                          \
    X(40, method_store_put, "store.put", put_shard_request, put_shard_response, METHOD_GW | METHOD_SN)           \
    X(41, method_store_get, "store.get", get_shard_request, get_shard_response, METHOD_GW | METHOD_SN)           \
    X(42, method_store_delete, "store.delete", delete_shards_request, delete_shards_response,      \
      METHOD_MN | METHOD_GW)                                                                                     \
    X(43, method_store_status, "store.status", store_status_request, store_status_response,        \
      METHOD_GW | METHOD_MN)                                                           \
    X(44, method_store_check, "store.check", check_shards_request, check_shards_response,          \
      METHOD_GW | METHOD_SN)                                                           \
    X(45, method_store_inventory, "store.inventory", inventory_request, inventory_response,        \
      METHOD_SN)                                                                       \
    X(46, method_root_node_report, "root.node_report", node_report_request, node_report_response,  \
      METHOD_SN)                                                                                   \
    X(47, method_root_cluster_status, "root.cluster_status", cluster_status_request,               \
      cluster_status_response, METHOD_GW)                                              \
    X(48, method_root_drain_node, "root.drain_node", drain_node_request, drain_node_response,      \
      METHOD_GW)                                                                       \
    X(50, method_store_start_scrub, "store.start_scrub", start_scrub_request, start_scrub_response, \
      METHOD_GW)                                                                       \
    X(51, method_store_distrust, "store.distrust", distrust_shard_request,                         \
      distrust_shard_response, METHOD_SN)                                                          \
    X(52, method_store_mend, "store.mend", mend_request, mend_response, METHOD_GW)
#define CAST_TABLE(X) X(64, method_raft_batch, "raft.batch", raft_batch, METHOD_MN)

#define X(num, id, name, req, resp, roles) extern const struct rpc_method id;
METHOD_TABLE(X)
#undef X
#define X(num, id, name, msg, roles) extern const struct rpc_method id;
CAST_TABLE(X)
#undef X
