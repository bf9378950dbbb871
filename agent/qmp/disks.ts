// What a machine's QEMU says about its disks: names, nodes, sizes, bitmaps.

import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import type { QmpCaller } from './client.ts'

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

const nodeSchema = v.object({
  'node-name': v.optional(text, ''),
  drv: text,
  ro: v.boolean(),
  'dirty-bitmaps': v.optional(v.pipe(v.array(bitmapSchema), v.maxLength(BITMAPS_MAX)), []),
  image: v.object({
    'virtual-size': natural,
    filename: text,
    'format-specific': v.optional(
      v.object({ type: text, data: v.optional(v.object({ compat: v.optional(text) }), {}) }),
    ),
  }),
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
  /** True where a bitmap of this node can be stored in its image (qcow2, compat 1.1). */
  readonly persistentBitmaps: boolean
}

/** One disk of a machine; `size` is bytes, `format` the driver of its top node. */
export interface MachineDisk {
  readonly name: string
  readonly node: string
  readonly qdev: string
  readonly size: number
  readonly format: string
  readonly fileName: string
  readonly persistentBitmaps: boolean
  readonly bitmaps: readonly BitmapState[]
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
  throw new VarveError('QMP_PROTOCOL', `QEMU's answer to ${command} is not understood: ${issue.message}`, {
    details: { command, path: v.getDotPath(issue) ?? '' },
  })
}

const toNode = (node: v.InferOutput<typeof nodeSchema>): BlockNode => ({
  node: node['node-name'],
  driver: node.drv,
  readOnly: node.ro,
  size: node.image['virtual-size'],
  fileName: node.image.filename,
  bitmaps: node['dirty-bitmaps'],
  persistentBitmaps: node.drv === 'qcow2' && node.image['format-specific']?.data.compat === '1.1',
})

/** Every block node of the machine, Varve's and foreign ones included. */
export const listNodes = async (client: QmpCaller): Promise<readonly BlockNode[]> => {
  const answer = await client.execute('query-named-block-nodes', { flat: true })
  return checkAnswer(nodesSchema, answer, 'query-named-block-nodes').map(toNode)
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

/** The machine's writable disks, in QEMU's order, with unique names; read-only ones and empty drives are left out. */
export const listDisks = async (client: QmpCaller): Promise<readonly MachineDisk[]> => {
  const blocks = checkAnswer(blocksSchema, await client.execute('query-block'), 'query-block')
  const nodes = new Map((await listNodes(client)).map((node) => [node.node, node]))
  const disks: MachineDisk[] = []
  const taken = new Set<string>()
  for (const { device, qdev, inserted } of blocks) {
    if (inserted === undefined || inserted.ro) continue
    const node = nodes.get(inserted['node-name'])
    if (node === undefined || node.node === '') continue
    const candidates = diskNames({ qdev, device, node: node.node })
    const name = candidates.find((candidate) => !taken.has(candidate)) ?? `${candidates[0] ?? 'disk'}-${disks.length}`
    taken.add(name)
    const { size, fileName, persistentBitmaps, bitmaps } = node
    disks.push({ name, node: node.node, qdev, size, format: node.driver, fileName, persistentBitmaps, bitmaps })
  }
  if (disks.length > DISKS_MAX) {
    throw new VarveError(
      'DISK_UNSUPPORTED',
      `The machine has ${disks.length} disks; at most ${DISKS_MAX} are supported.`,
    )
  }
  return disks
}
