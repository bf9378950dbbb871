// The peer of our increments: a program for nbdsh that reads just what a bitmap of QEMU calls dirty.
import type { Command } from './measure.ts'

/** As nbdsh's own examples do it: block status, then one pread after the other of what is dirty. Prints the bytes read. */
const scriptOf = (uri: string, bitmap: string): string => `
REQUEST_BYTES = 32 * 1024 * 1024
STATUS_BYTES = 1024 * 1024 * 1024
h.add_meta_context("qemu:dirty-bitmap:${bitmap}")
h.connect_uri("${uri}")
size = h.get_size()
pieces = []
at = 0

def extents(context, offset, entries, error):
    global at
    for length, flags in zip(entries[0::2], entries[1::2]):
        if flags & 1:
            end = min(offset + length, size)
            pieces.extend((start, min(REQUEST_BYTES, end - start)) for start in range(offset, end, REQUEST_BYTES))
        offset += length
    at = offset

while at < size:
    h.block_status(min(STATUS_BYTES, size - at), at, extents)

for start, length in pieces:
    h.pread(length, start)

print(sum(length for start, length in pieces))
h.shutdown()
`

/** Reads the dirty clusters of an NBD export into memory and drops them. */
export const dirtyRead = (uri: string, bitmap: string): Command => ({
  name: 'nbdsh',
  program: 'nbdsh',
  args: ['-c', scriptOf(uri, bitmap)],
  // another Python that comes first would lack the system's library
  env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
})
