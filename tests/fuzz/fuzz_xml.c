/* The documents that clients send, from any bytes: nothing crashes, memory stays within the arena's
 * bound, and whatever is accepted keeps the rules that the operations rely on. */
#include "common/base/check.h"
#include "gateway/s3/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void complete(struct arena *arena, struct slice body)
{
    struct s3_complete c;
    struct s3_fault f;
    if (s3_xml_complete(arena, body, &c, &f) != S3_OK)
        return;
    CHECK(c.count >= 1 && c.count <= S3_PART_NUMBER_MAX);
    for (size_t i = 0; i < c.count; i++) {
        CHECK(c.parts[i].number >= 1 && c.parts[i].number <= S3_PART_NUMBER_MAX);
        CHECK(i == 0 || c.parts[i - 1].number < c.parts[i].number);
        CHECK(c.parts[i].etag.ptr);
    }
}

static void delete (struct arena *arena, struct slice body)
{
    struct s3_delete d;
    struct s3_fault f;
    if (s3_xml_delete(arena, body, 1700000000000ull, &d, &f) != S3_OK)
        return;
    CHECK(d.count >= 1 && d.count <= S3_DELETE_OBJECTS_MAX);
    for (size_t i = 0; i < d.count; i++)
        CHECK(d.objects[i].key.len > 0 && utf8_valid(d.objects[i].key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct s3_create_bucket c;
    struct s3_versioning v;
    struct s3_fault f;
    struct buf b = {0};
    arena_init(&arena, 8 << 20);
    complete(&arena, SLICE(data, size));
    delete (&arena, SLICE(data, size));
    (void)s3_xml_create_bucket(&arena, SLICE(data, size), &c, &f);
    (void)s3_xml_versioning(&arena, SLICE(data, size), &v, &f);
    /* What we write of any bytes reads back as one element. */
    xml_open(&b, "Delete");
    xml_open(&b, "Object");
    xml_slice(&b, "Key", SLICE(data, size));
    xml_close(&b, "Object");
    xml_close(&b, "Delete");
    struct s3_delete d;
    if (size > 0 && size <= 1024)
        CHECK(s3_xml_delete(&arena, buf_view(&b), 0, &d, &f) == S3_OK && d.count == 1);
    buf_fini(&b);
    arena_fini(&arena);
    return 0;
}
