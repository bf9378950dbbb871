// Removes what any agent has in a machine: exports, jobs and nodes of leases, and every bitmap.
import * as v from 'valibot'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import type { Forgotten } from '../../../protocol/methods.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, listDisks } from '../../qmp/disks.ts'
import { readInventory } from './inventory.ts'
import { scratchNodeParts } from './names.ts'
import { tearDown, type TeardownTarget } from './teardown.ts'

/** The form of all names that any agent uses in a QEMU. */
const OURS = /^varve-[0-9a-z]{8}-/
const EXPORT = /^varve-[0-9a-z]{8}-exp-/
const JOB = /^varve-[0-9a-z]{8}-job-/

const text = v.pipe(v.string(), v.maxLength(4096))

const nodesSchema = v.array(
  v.object({
    'node-name': v.optional(text, ''),
    file: v.optional(text, ''),
    backing_file: v.optional(text, ''),
    'dirty-bitmaps': v.optional(v.array(v.object({ name: v.optional(text, '') })), []),
  }),
)
type Node = v.InferOutput<typeof nodesSchema>[number]

const listNodes = async (client: QmpCaller): Promise<readonly Node[]> => {
  const answer = await client.execute('query-named-block-nodes', { flat: true })
  return checkAnswer(nodesSchema, answer, 'query-named-block-nodes').filter((node) => node['node-name'] !== '')
}

/** A disk's node and the nodes below it, which were the disk before a snapshot was taken; found by their files. */
export const chainOf = (nodes: readonly Node[], top: string): ReadonlySet<string> => {
  const chain = new Set([top])
  for (const name of chain) {
    const below = nodes.find((node) => node['node-name'] === name)?.backing_file ?? ''
    if (below !== '') for (const node of nodes) if (node.file === below) chain.add(node['node-name'])
  }
  return chain
}

/** The nodes of one disk; NOT_FOUND lists the machine's disks. */
const nodesOfDisk = async (client: QmpCaller, name: string): Promise<readonly Node[]> => {
  const { disks } = await listDisks(client)
  const disk = disks.find((each) => each.name === name)
  if (disk === undefined) {
    const names = disks.map((each) => each.name).join(', ')
    throw new VarveError('NOT_FOUND', `there is no disk "${name}"; the machine has: ${names || 'none'}`)
  }
  const nodes = await listNodes(client)
  const chain = chainOf(nodes, disk.node)
  return nodes.filter((node) => chain.has(node['node-name']))
}

/** Removes every export, job and node of a lease of Varve's, with the folders of their sockets. */
const removeLeases = async (client: QmpCaller, runtimeFolder: string): Promise<void> => {
  const inventory = await readInventory(client)
  const target: TeardownTarget = {
    exports: new Set(inventory.exports.map(({ id }) => id).filter((id) => EXPORT.test(id))),
    jobs: new Set(inventory.jobs.map(({ id }) => id).filter((id) => JOB.test(id))),
    nodes: new Set(inventory.nodes.map(({ node }) => node).filter((node) => scratchNodeParts(node) !== null)),
    socketPath: null,
    bitmaps: () => [],
  }
  const folders = new Set([...target.nodes].flatMap((node) => scratchNodeParts(node)?.folder ?? []))
  for (const name of folders) {
    const folder = join(runtimeFolder, name)
    await tearDown(client, { ...target, socketPath: join(folder, 'nbd') })
    await rm(folder, { recursive: true, force: true })
  }
  await tearDown(client, target)
}

/**
 * Removes Varve's bitmaps from a machine, or from one of its disks with everything below it; without `disk` also what is
 * left of leases. What QEMU refuses to remove (a node that became a read-only backing file) is in `left`, with QEMU's
 * reason. NOT_FOUND when there is no such disk.
 */
export const forgetMachine = async (
  client: QmpCaller,
  disk: string | null,
  runtimeFolder: string,
): Promise<Forgotten> => {
  if (disk === null) await removeLeases(client, runtimeFolder)
  const nodes = disk === null ? await listNodes(client) : await nodesOfDisk(client, disk)
  const removed: Forgotten['removed'] = []
  const left: Forgotten['left'] = []
  for (const { 'node-name': node, file, 'dirty-bitmaps': bitmaps } of nodes) {
    for (const { name: bitmap } of bitmaps.filter(({ name }) => OURS.test(name))) {
      try {
        await client.execute('block-dirty-bitmap-remove', { node, name: bitmap })
        removed.push({ node, bitmap })
      } catch (error) {
        if (!(error instanceof VarveError) || error.code !== 'QMP_ERROR') throw error
        left.push({ node, bitmap, file, reason: String(error.details['desc'] ?? error.message) })
      }
    }
  }
  return { removed, left }
}
