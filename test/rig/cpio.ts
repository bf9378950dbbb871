// Writes a cpio archive in the "newc" format, the one that the Linux kernel unpacks as its first file system.

/** One entry of the archive; paths are relative, without a leading slash, and parents come before their children. */
export type CpioEntry =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly data: Buffer; readonly executable?: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }

const MODE_FOLDER = 0o040755
const MODE_FILE = 0o100644
const MODE_PROGRAM = 0o100755
const MODE_LINK = 0o120777
const ALIGN_BYTES = 4

const padding = (length: number): Buffer => Buffer.alloc((ALIGN_BYTES - (length % ALIGN_BYTES)) % ALIGN_BYTES)

const modeOf = (entry: CpioEntry): number => {
  if (entry.kind === 'folder') return MODE_FOLDER
  if (entry.kind === 'link') return MODE_LINK
  return entry.executable === true ? MODE_PROGRAM : MODE_FILE
}

const dataOf = (entry: CpioEntry): Buffer => {
  if (entry.kind === 'folder') return Buffer.alloc(0)
  return entry.kind === 'link' ? Buffer.from(entry.target) : entry.data
}

/**
 * Layout of one record: magic "070701", then inode, mode, uid, gid, links, mtime, size, four device numbers, name size
 * and checksum as 8 hexadecimal digits each, then name NUL and data, both padded to 4 bytes.
 */
const record = (inode: number, name: string, mode: number, data: Buffer): Buffer => {
  const nameBytes = Buffer.from(`${name}\0`)
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0]
  const head = Buffer.concat([
    Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`),
    nameBytes,
  ])
  return Buffer.concat([head, padding(head.length), data, padding(data.length)])
}

/** The whole archive; the same entries always give the same bytes. */
export const writeCpio = (entries: readonly CpioEntry[]): Buffer => {
  const records = entries.map((entry, index) => record(index + 1, entry.path, modeOf(entry), dataOf(entry)))
  return Buffer.concat([...records, record(0, 'TRAILER!!!', 0, Buffer.alloc(0))])
}
