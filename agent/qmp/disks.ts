// A machine's disks as QEMU reports them: names, nodes, sizes, bitmaps.

import * as v from 'valibot'
import type { LeftOutDisk } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { misfit } from '../../protocol/misfit.ts'
import type { QmpCaller } from './client.ts'
import {
  isCdRom,
  isFloppy,
  listOutside,
  lookAtDevice,
  nodesBelow,
  refusalOf,
  type RefusedDisk,
} from './disk-devices.ts'

/** Most disks of one machine; QEMU itself stops far earlier. */
export const DISKS_MAX = 256

/** Most block nodes and most bitmaps a node may report. */
const NODES_MAX = 16_384
const BITMAPS_MAX = 65_535

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const text = v.pipe(v.string(), v.maxLength(4096))

const bitmapSchema = v.object({
  name: v.optional(text, ''),
  count: natural,
  granularity: natural,
  recording: v.boolean(),
  busy: v.boolean(),
  persistent: v.boolean(),
  inconsistent: v.optional(v.boolean(), false),
})

/** State of one dirty bitmap; `count` and `granularity` are bytes. An anonymous bitmap has the name ''. */
export type BitmapState = Readonly<v.InferOutput<typeof bitmapSchema>>

interface Image {
  readonly format?: string | undefined
  readonly 'virtual-size': number
  readonly 'cluster-size'?: number | undefined
  readonly filename: string
  readonly 'format-specific'?:
    { readonly data: { readonly compat?: string | undefined; readonly 'data-file'?: string | undefined } } | undefined
  readonly 'backing-image'?: Image | undefined
}

const imageSchema: v.GenericSchema<unknown, Image> = v.object({
  format: v.optional(text),
  'virtual-size': natural,
  'cluster-size': v.optional(natural),
  filename: text,
  'format-specific': v.optional(
    v.object({ data: v.optional(v.object({ compat: v.optional(text), 'data-file': v.optional(text) }), {}) }),
  ),
  'backing-image': v.optional(v.lazy(() => imageSchema)),
})

const nodeSchema = v.object({
  'node-name': v.optional(text, ''),
  drv: text,
  ro: v.boolean(),
  'dirty-bitmaps': v.optional(v.pipe(v.array(bitmapSchema), v.maxLength(BITMAPS_MAX)), []),
  image: imageSchema,
})
const nodesSchema = v.pipe(v.array(nodeSchema), v.maxLength(NODES_MAX))

const blockSchema = v.object({
  device: v.optional(text, ''),
  qdev: v.optional(text, ''),
  removable: v.boolean(),
  inserted: v.optional(v.object({ ro: v.boolean(), 'node-name': v.optional(text, ''), drv: text })),
})
const blocksSchema = v.pipe(v.array(blockSchema), v.maxLength(DISKS_MAX * 4))

/** One block node of QEMU, of a disk or not. */
export interface BlockNode {
  readonly node: string
  readonly driver: string
  readonly readOnly: boolean
  readonly size: number
  readonly fileName: string
  readonly bitmaps: readonly BitmapState[]
  /** True where a bitmap of this node can be stored in its image (qcow2, compat 1.1) and the content is there too. */
  readonly persistentBitmaps: boolean
  /** File with the content of a qcow2 image whose own file holds only its tables; null for every other one. */
  readonly dataFile: string | null
  /** Bytes of content that the image keeps or drops as one; null where its format has no such unit. */
  readonly clusterBytes: number | null
}

/** An image of a chain; `size` is bytes, `fileName` is QEMU's, a path or options as JSON. */
export interface DiskImage {
  readonly format: string
  readonly fileName: string
  readonly size: number
}

/** One disk of a machine; `size` is bytes, `format` the driver of its top node. */
export interface MachineDisk {
  readonly name: string
  readonly node: string
  readonly qdev: string
  readonly size: number
  readonly format: string
  readonly fileName: string
  readonly dataFile: string | null
  readonly clusterBytes: number | null
  /** The images below this one, the nearest first. */
  readonly backing: readonly DiskImage[]
  readonly persistentBitmaps: boolean
  readonly bitmaps: readonly BitmapState[]
}

/** The disks of a machine that a backup can hold, in QEMU's order, and the others. */
export interface MachineDisks {
  readonly disks: readonly MachineDisk[]
  readonly leftOut: readonly LeftOutDisk[]
  /** A backup of the machine is refused unless the configuration excludes these; absent for none. */
  readonly refused?: readonly RefusedDisk[]
}

/** Checks an answer of QEMU against a schema; QMP_PROTOCOL names the command whose answer it was. */
export const checkAnswer = <S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  command: string,
): v.InferOutput<S> => {
  const checked = v.safeParse(schema, value)
  if (checked.success) return checked.output
  const issue = checked.issues[0]
  throw new VarveError(
    'QMP_PROTOCOL',
    `QEMU's answer to ${command} is not understood: ${misfit(schema, checked.issues)}`,
    {
      details: { command, path: v.getDotPath(issue) ?? '' },
    },
  )
}

const toNode = (node: v.InferOutput<typeof nodeSchema>): BlockNode => {
  const data = node.image['format-specific']?.data
  const dataFile = data?.['data-file'] ?? null
  return {
    node: node['node-name'],
    driver: node.drv,
    readOnly: node.ro,
    size: node.image['virtual-size'],
    fileName: node.image.filename,
    bitmaps: node['dirty-bitmaps'],
    // a stored bitmap would outlive this QEMU, but not record writes to the data file meanwhile
    persistentBitmaps: node.drv === 'qcow2' && data?.compat === '1.1' && dataFile === null,
    dataFile,
    clusterBytes: node.image['cluster-size'] ?? null,
  }
}

const askNodes = async (client: QmpCaller, flat: boolean): Promise<v.InferOutput<typeof nodesSchema>> => {
  const answer = await client.execute('query-named-block-nodes', flat ? { flat } : {})
  return checkAnswer(nodesSchema, answer, 'query-named-block-nodes')
}

/** Every block node of the machine, Varve's and foreign ones included. */
export const listNodes = async (client: QmpCaller): Promise<readonly BlockNode[]> =>
  (await askNodes(client, true)).map(toNode)

/** Drivers of filters above a disk's own image, which QEMU reports as if they had a backing file. */
export const FILTERS: ReadonlySet<string | undefined> = new Set(['throttle', 'copy-on-read', 'compress', 'preallocate'])

const backingOf = (image: Image): DiskImage[] => {
  const chain: DiskImage[] = []
  let above = FILTERS.has(image.format)
  for (let under = image['backing-image']; under !== undefined; under = under['backing-image']) {
    // below a filter is the disk itself, which the guest writes
    if (!above) chain.push({ format: under.format ?? '', fileName: under.filename, size: under['virtual-size'] })
    above &&= FILTERS.has(under.format)
  }
  return chain
}

const PERIPHERAL = /^\/machine\/peripheral\/([^/]+)(?:\/|$)/

/** Names to try for a disk, best first: the device's id, the drive's name, the node's. */
export const diskNames = (disk: {
  readonly qdev: string
  readonly device: string
  readonly node: string
}): string[] => {
  const deviceId = PERIPHERAL.exec(disk.qdev)?.[1] ?? (disk.qdev.startsWith('/') ? '' : disk.qdev)
  return [deviceId, disk.device, disk.node].filter((name) => name !== '')
}

/** A unique name for a disk. */
const freeName = (candidates: readonly string[], taken: ReadonlySet<string>): string => {
  const free = candidates.find((candidate) => !taken.has(candidate))
  if (free !== undefined) return free
  for (let number = 2; ; number += 1) {
    const name = `${candidates[0] ?? 'disk'}-${number}`
    if (!taken.has(name)) return name
  }
}

type Nodes = ReadonlyMap<string, v.InferOutput<typeof nodeSchema>>

/** The node of the image below the filters that a disk's device shows: what records every write, also one that bypasses them. */
const imageNode = (
  top: string,
  nodes: Nodes,
  { below, filters }: { readonly below: ReadonlyMap<string, string>; readonly filters: ReadonlyMap<string, string> },
): string => {
  let node = top
  for (let steps = 0; steps < nodes.size && FILTERS.has(nodes.get(node)?.drv); steps++) {
    const lower = below.get(node)
    if (lower === undefined || !nodes.has(filters.get(lower) ?? lower)) return top
    node = filters.get(lower) ?? lower
  }
  return node
}

const refuseMany = (count: number): void => {
  if (count <= DISKS_MAX) return
  throw new VarveError('DISK_UNSUPPORTED', `the machine has ${count} disks; at most ${DISKS_MAX} are supported`)
}

/**
 * The machine's disks, each once, with unique names, and those that no backup can hold; empty drives are no disks.
 * `filters` gives the disk's node below a filter that a backup of ours has put above it.
 */
export const listDisks = async (
  client: QmpCaller,
  filters: ReadonlyMap<string, string> = new Map(),
): Promise<MachineDisks> => {
  const blocks = checkAnswer(blocksSchema, await client.execute('query-block'), 'query-block')
  const nodes = new Map((await askNodes(client, false)).map((node) => [node['node-name'], node]))
  const shownNodes = blocks
    .map(({ inserted }) => inserted?.['node-name'] ?? '')
    .map((node) => filters.get(node) ?? node)
  const hasFilters = shownNodes.some((shown) => FILTERS.has(nodes.get(shown)?.drv))
  const below = hasFilters ? await nodesBelow(client) : new Map<string, string>()
  const disks: MachineDisk[] = []
  const leftOut: LeftOutDisk[] = []
  const refused: RefusedDisk[] = []
  const taken = new Set<string>()
  for (const { device, qdev, inserted } of blocks) {
    if (inserted === undefined) continue
    const shown = filters.get(inserted['node-name']) ?? inserted['node-name']
    const found = nodes.get(imageNode(shown, nodes, { below, filters }))
    if (shown === '' || found === undefined || found['node-name'] === '') continue
    const node = toNode(found)
    const name = freeName(diskNames({ qdev, device, node: shown }), taken)
    taken.add(name)
    const { size, fileName, dataFile, clusterBytes, persistentBitmaps, bitmaps } = node
    const behind = await lookAtDevice(client, qdev)
    // a device may show what another one on the same node shows: both must say that it is shared then
    const isTwice = shownNodes.indexOf(shown) !== shownNodes.lastIndexOf(shown)
    const why = refusalOf(isTwice ? { ...behind, shared: false } : behind, node.driver)
    const isSame = disks.some((disk) => disk.node === node.node)
    if (inserted.ro || isCdRom(behind)) leftOut.push({ name, reason: 'read-only' })
    else if (isFloppy(behind)) leftOut.push({ name, reason: 'floppy' })
    else if (size === 0) leftOut.push({ name, reason: 'no-size' })
    else if (why !== null) refused.push({ name, why })
    else if (isSame) leftOut.push({ name, reason: 'same-disk' })
    else {
      const backing = backingOf(found.image)
      const known = { name, node: node.node, qdev, size, format: node.driver, fileName, dataFile, backing }
      disks.push({ ...known, clusterBytes, persistentBitmaps, bitmaps })
    }
  }
  for (const { id, device, why } of await listOutside(client)) {
    const name = freeName(
      [id, device].filter((one) => one !== ''),
      taken,
    )
    taken.add(name)
    refused.push({ name, why })
  }
  refuseMany(disks.length + leftOut.length + refused.length)
  return { disks, leftOut, refused }
}

/** The disks without those that the configuration excludes; an exclusion takes precedence over any other reason. */
export const splitExcluded = <Disk extends { readonly name: string }>(
  { disks, leftOut }: { readonly disks: readonly Disk[]; readonly leftOut: readonly LeftOutDisk[] },
  exclude: readonly string[],
): { readonly disks: readonly Disk[]; readonly leftOut: readonly LeftOutDisk[] } => {
  const isExcluded = ({ name }: { readonly name: string }): boolean => exclude.includes(name)
  const excluded = [...disks, ...leftOut].filter(isExcluded)
  return {
    disks: disks.filter((disk) => !isExcluded(disk)),
    leftOut: [
      ...leftOut.filter((disk) => !isExcluded(disk)),
      ...excluded.map(({ name }): LeftOutDisk => ({ name, reason: 'excluded' })),
    ],
  }
}

/** The disks that these nodes are, by node name, of a process that has no devices; in the map's order. */
export const readDisks = async (
  client: QmpCaller,
  names: ReadonlyMap<string, string>,
): Promise<readonly MachineDisk[]> => {
  const nodes = new Map((await askNodes(client, false)).map((node) => [node['node-name'], node]))
  return [...names].map(([node, name]) => {
    const found = nodes.get(node)
    if (found === undefined) throw new VarveError('QMP_PROTOCOL', `QEMU has no node ${node} of disk ${name}`)
    const { driver: format, readOnly: _, ...known } = toNode(found)
    return { ...known, name, node, qdev: '', format, backing: backingOf(found.image) }
  })
}
