// The disks of a QEMU's command line, with the names that a backup gives them: best effort, as people are to read it. Pure.
import { below, parseOptions, type Options } from './option-text.ts'
import type { Given } from './given-options.ts'

/** Nodes between a device and its file at most. */
const NODES_MAX = 16

/** Formats of disks that can be read while the machine is off. */
const FORMATS: ReadonlySet<string> = new Set(['raw', 'qcow2'])

/** Drivers of a node that is a file or device of this host. */
const FILES: ReadonlySet<string> = new Set(['file', 'host_device'])

/** Devices without a disk in them, or with one that is no part of the machine. */
const NO_DISK = /(?:-cd$|cdrom|floppy)/u

export interface CommandDisk {
  /** Its device's id, else its drive's, else its node's. */
  readonly name: string
  /** As it was given, which may be relative. */
  readonly path: string
  readonly format: 'raw' | 'qcow2' | null
}

type Source = Pick<CommandDisk, 'path' | 'format'>

const formatOf = (text: string | undefined): CommandDisk['format'] => (text === 'raw' || text === 'qcow2' ? text : null)

/** The file of a node, through filters and nodes that are named; null for what is on no file of this host. */
const sourceOf = (
  node: Options,
  nodes: ReadonlyMap<string, Options>,
  format: string | undefined,
  left: number,
): Source | null => {
  const driver = node.get('driver')
  const path = node.get('filename')
  if (path !== undefined) return FILES.has(driver ?? '') ? { path, format: formatOf(format) } : null
  const known = format ?? (FORMATS.has(driver ?? '') ? driver : undefined)
  const inner = below(node, 'file')
  const next = inner.size > 0 ? inner : nodes.get(node.get('file') ?? '')
  return next === undefined || left === 0 ? null : sourceOf(next, nodes, known, left - 1)
}

interface Drive extends Source {
  readonly id: string
  /** It has a device by itself, without a `-device`. */
  readonly isOwn: boolean
}

const PROTOCOL = /^[a-z][a-z+]+:/u

/** The drives of `-drive` and `-hda`, by their ids or those that QEMU gives them. */
const drivesOf = (given: readonly Given[]): Drive[] => {
  const counts = new Map<string, number>()
  return given.flatMap(({ option, value }): Drive[] => {
    if (/^hd[a-d]$/u.test(option))
      return [
        {
          id: `ide${option > 'hdb' ? 1 : 0}-hd${'ac'.includes(option[2]!) ? 0 : 1}`,
          path: value,
          format: null,
          isOwn: true,
        },
      ]
    if (option !== 'drive') return []
    const options = parseOptions(value)
    const kind = options.get('if') ?? 'ide'
    const path = options.get('file') ?? options.get('file.filename') ?? ''
    if (options.get('media') === 'cdrom' || !['none', 'ide', 'scsi', 'virtio'].includes(kind)) return []
    const at = counts.get(kind) ?? 0
    counts.set(kind, at + 1)
    const id = options.get('id') ?? (kind === 'virtio' ? `virtio${at}` : `${kind}${at >> 1}-hd${at % 2}`)
    if (path === '' || PROTOCOL.test(path)) return []
    return [{ id, path, format: formatOf(options.get('format') ?? options.get('driver')), isOwn: kind !== 'none' }]
  })
}

/** Disks on files and devices of this host; removable media and network disks are not among them. */
export const disksOf = (given: readonly Given[]): readonly CommandDisk[] => {
  const nodes = new Map(
    given
      .filter(({ option }) => option === 'blockdev')
      .map(({ value }) => {
        const options = parseOptions(value, 'driver')
        return [options.get('node-name') ?? '', options] as const
      }),
  )
  const drives = drivesOf(given)
  const own = drives.filter(({ isOwn }) => isOwn).map(({ id, path, format }) => ({ name: id, path, format }))
  const plugged = given.flatMap(({ option, value }): CommandDisk[] => {
    const options = option === 'device' ? parseOptions(value, 'driver') : new Map<string, string>()
    const id = options.get('drive') ?? ''
    if (id === '' || NO_DISK.test(options.get('driver') ?? '')) return []
    const node = nodes.get(id)
    const source = drives.find((one) => one.id === id) ?? (node && sourceOf(node, nodes, undefined, NODES_MAX))
    return source ? [{ name: options.get('id') ?? id, path: source.path, format: source.format }] : []
  })
  return [...own, ...plugged]
}
