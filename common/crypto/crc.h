#pragma once
/* CRC-32 (IEEE, gzip) and CRC-64/NVME.  CRC-32C lives in common/base/hash.h.
 *
 * crc(0, s) starts; pass the last result to continue.  combine: CRC of A‖B from crc(A), crc(B) and
 * len(B).  S3 sends each as big-endian bytes in base64. */
#include "common/base/slice.h"

uint32_t crc32_gzip(uint32_t crc, struct slice s);
uint32_t crc32_gzip_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

/* Carry-less multiplication where the CPU has it, else tables (slicing by 8). */
uint64_t crc64nvme(uint64_t crc, struct slice s);
uint64_t crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t len_b);

/* The table version, so that a test can hold one against the other. */
uint64_t crc64nvme_table(uint64_t crc, struct slice s);
