// A disk of a machine of the bench's own lent over NBD: as it is, or as it was at one instant, as a backup reads it.
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { QmpClient } from '../../agent/qmp/client.ts'
import { run } from '../rig/run.ts'
import { eventually } from '../support/temp.ts'

const EXPORT_NAME = 'bench'
const SCRATCH_NODE = 'bench-scratch'
const JOB = 'bench-copy'

export interface Lent {
  readonly control: QmpClient
  /** Of the disk. */
  readonly node: string
  /** A folder with a short path. */
  readonly socketFolder: string
  readonly bitmaps?: readonly string[]
}

/** Lends a node, and bitmaps of it, while `work` runs; nothing else may lend anything in this QEMU meanwhile. */
export const exported = async <T>(lent: Lent, work: (uri: string) => Promise<T>): Promise<T> => {
  const { control, node, socketFolder, bitmaps = [] } = lent
  const socket = path.join(socketFolder, 'export.sock')
  await control.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } })
  try {
    const names = { id: EXPORT_NAME, name: EXPORT_NAME, 'node-name': node }
    await control.execute('block-export-add', { ...names, type: 'nbd', bitmaps: [...bitmaps] })
    return await work(`nbd+unix:///${EXPORT_NAME}?socket=${socket}`)
  } finally {
    await control.execute('nbd-server-stop')
  }
}

/**
 * Lends a disk as it is when this is called, with the agent's own means: a scratch image over it, into which a job of QEMU
 * copies what the guest is about to overwrite.
 */
export const exportedInstant = async <T>(
  lent: Lent & { readonly scratchFolder: string; readonly size: number },
  work: (uri: string) => Promise<T>,
): Promise<T> => {
  const { control, node, scratchFolder, size } = lent
  const filename = path.join(scratchFolder, 'scratch.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', filename, String(size)])
  await using resources = new AsyncDisposableStack()
  resources.defer(() => rm(filename))
  const file = { driver: 'file', filename }
  await control.execute('blockdev-add', { driver: 'qcow2', 'node-name': SCRATCH_NODE, file, backing: node })
  resources.defer(async () => void (await control.execute('blockdev-del', { 'node-name': SCRATCH_NODE })))
  await control.execute('blockdev-backup', { 'job-id': JOB, device: node, target: SCRATCH_NODE, sync: 'none' })
  resources.defer(async () => {
    await control.execute('block-job-cancel', { device: JOB, force: true })
    await eventually(async () => !JSON.stringify(await control.execute('query-block-jobs')).includes(JOB))
  })
  return await exported({ ...lent, node: SCRATCH_NODE }, work)
}
