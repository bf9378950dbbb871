// Objects in QEMU with this agent's names that are in no journal entry: what a damaged entry left behind.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { QmpCaller } from '../../qmp/client.ts'
import type { QmpHost } from './host.ts'
import { readInventory, type Inventory } from './inventory.ts'
import { qmpEntries, type QmpEntry } from './entry.ts'
import type { NodeBitmap } from './actions.ts'
import { leaseTail, ownNames, socketFolderName } from './names.ts'
import { tearDown, type TeardownTarget } from './teardown.ts'

/** Orphaned objects, and the tails of the leases they were of. */
export interface Orphans {
  readonly target: TeardownTarget
  readonly tails: readonly string[]
}

/** This agent's objects that no entry of the journal knows; null when there are none. */
export const findOrphans = (inventory: Inventory, agentId: string, entries: readonly QmpEntry[]): Orphans | null => {
  const own = ownNames(agentId)
  const known = new Set(
    entries.flatMap(({ disks, older }) => [
      ...disks.flatMap(({ job, exportId, scratchNode, access, push }) => [
        job,
        exportId,
        scratchNode,
        ...(access === null ? [] : [access.node]),
        ...Object.values(push ?? {}),
      ]),
      ...older.exports,
      ...older.nodes,
    ]),
  )
  const transfers = new Set(entries.map(({ transfer }) => transfer))
  const exports = new Set(inventory.exports.map(({ id }) => id).filter((id) => own.isExport(id) && !known.has(id)))
  const jobs = new Set(inventory.jobs.map(({ id }) => id).filter((id) => own.isJob(id) && !known.has(id)))
  const nodes = new Set(
    inventory.nodes.map(({ node }) => node).filter((node) => own.scratchTail(node) !== null && !known.has(node)),
  )
  const bitmapsOf = (listed: Inventory['nodes']): NodeBitmap[] =>
    listed
      .filter(({ readOnly }) => !readOnly)
      .flatMap(({ node, bitmaps }) =>
        bitmaps.filter(({ name }) => own.isTransfer(name) && !transfers.has(name)).map(({ name }) => ({ node, name })),
      )
  if (exports.size + jobs.size + nodes.size + bitmapsOf(inventory.nodes).length === 0) return null
  const tails = new Set([...nodes].flatMap((node) => own.scratchTail(node) ?? []))
  return { target: { exports, jobs, nodes, socketPath: null, bitmaps: bitmapsOf }, tails: [...tails] }
}

/** Removes the machine's orphans, with their servers and folders. */
export const removeOrphans = async (host: QmpHost, client: QmpCaller, agentId: string): Promise<void> => {
  const { folders } = host
  const orphans = findOrphans(await readInventory(client), agentId, await qmpEntries(host.journal))
  if (orphans === null) return
  const { target, tails } = orphans
  host.log.warn({ exports: [...target.exports], jobs: [...target.jobs], nodes: [...target.nodes] }, 'removing orphans')
  for (const leaseTailText of tails) {
    const socketFolder = join(folders.runtime, socketFolderName(agentId, leaseTailText))
    await tearDown(client, { ...target, socketPath: join(socketFolder, 'nbd') })
    await rm(socketFolder, { recursive: true, force: true })
    for (const name of await readdir(folders.scratch)) {
      if (leaseTail(name) === leaseTailText) await rm(join(folders.scratch, name), { recursive: true, force: true })
    }
  }
  await tearDown(client, target)
}
