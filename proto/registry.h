#pragma once
/* What gateways and metanodes agree on about the registry (registry.proto). */

/* What a principal may be made of; who has more may do nothing.  By the quotas of users, groups and
 * roles nobody can come to have more (gateway/iam/attach.c). */
#define PRINCIPAL_BYTES_MAX (1 << 20) /* of the documents that hold for it */
#define PRINCIPAL_ROWS_MAX 256        /* that are looked at */

/* The account that the cluster was founded with: its root user is the operator, who may do
 * everything.  It is never removed. */
#define OPERATOR_ACCOUNT "000000000001"

/* Scopes of ROW_ACCOUNT_NAME. */
#define ACCOUNT_NAMES "name"
#define ACCOUNT_EMAILS "email"
#define ACCOUNT_CANONICAL_IDS "canonical"

/* Scope of ROW_QUOTA. */
#define QUOTAS_OF_ACCOUNTS "account"
