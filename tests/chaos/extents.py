"""What lies in the extents of a storage node's disk, read beside the process that writes them, and bits flipped
there.  The format: docs/formats/extent.md."""
import collections
import pathlib
import struct

HEAD = 4096
SHARD = 1
Shard = collections.namedtuple("Shard", "path offset bytes blob index pg data parity key segment seq")


def _heads(path):
    """Of one extent's present life, with where they begin; found without their lengths, as one may be damaged."""
    data = path.read_bytes()
    for at in range(HEAD, len(data), HEAD):
        if data[at:at + 4] == b"CFRM" and data[at + 16:at + 32] == data[16:32] and \
                struct.unpack_from(">Q", data, at + 32)[0] == at:
            yield at, data[at:at + HEAD]


def disk_id(disk):
    """As the headers of its extents say it, in hex."""
    with open(next(pathlib.Path(disk).glob("extents/x*.extent")), "rb") as f:
        return f.read(56)[40:].hex()


def frames(data_dir, prefix):
    """Every frame of a shard whose owner's key begins with the prefix, copies that no longer count included;
    on all disks of the node whose directory that is."""
    found = []
    for path in sorted(pathlib.Path(data_dir).glob("**/extents/x*.extent")):
        for at, head in _heads(path):
            kind, = struct.unpack_from(">H", head, 6)
            key = head[160:160 + struct.unpack_from(">H", head, 152)[0]]
            if kind == SHARD and key.startswith(prefix.encode()):
                seq, length = struct.unpack_from(">QQ", head, 48)
                index, = struct.unpack_from(">H", head, 88)
                pg, = struct.unpack_from(">I", head, 92)
                segment, = struct.unpack_from(">I", head, 148)
                found.append(Shard(path, at, length, head[72:88], index, pg, head[2732], head[2733], key, segment,
                                   seq))
    return found


def shards(data_dir, prefix):
    """Each shard where it was written last."""
    return list({(one.blob, one.index): one for one in sorted(frames(data_dir, prefix), key=lambda s: s.seq)}.values())


def flip(shard, dice):
    """One bit of its data or, now and then, of its head."""
    at = dice.randrange(HEAD) if dice.random() < 0.05 else HEAD + dice.randrange(shard.bytes)
    with open(shard.path, "r+b", buffering=0) as f:
        f.seek(shard.offset + at)
        byte = f.read(1)[0]
        f.seek(shard.offset + at)
        f.write(bytes([byte ^ 1 << dice.randrange(8)]))
