// A lease's folder: its sockets, and what a later agent must know where the journal's entry is damaged.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import { makeFolder } from '../../make-folder.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../socket-path.ts'
import { agentTag } from '../checkpoint-names.ts'
import { leaseNames } from '../qmp/names.ts'
import { nbdSocket } from './daemon.ts'
import { remnantSchema, type OfflineEntry, type Remnant } from './entry.ts'

/** How often a removal is retried because of new files: a process that is ending may still write. */
const REMOVALS_MAX = 10

const remnantFile = (folder: string): string => join(folder, 'lease.json')

/** The folder of a lease; CONFIG_INVALID where a socket in it would have too long a path. */
export const folderOf = (runtimeFolder: string, agentId: string, leaseId: string): string => {
  const folder = join(runtimeFolder, leaseNames(agentId, leaseId).folder)
  if (Buffer.byteLength(nbdSocket(folder)) <= SOCKET_PATH_BYTES_MAX) return folder
  const sentence = `the folder for sockets, ${runtimeFolder}, is too long for a UNIX socket's path (${SOCKET_PATH_BYTES_MAX} bytes): set TMPDIR to a shorter one`
  throw new VarveError('CONFIG_INVALID', sentence, { details: { bytesMax: SOCKET_PATH_BYTES_MAX } })
}

/** Makes the folder, for this user alone. */
export const makeLeaseFolder = async (runtimeFolder: string, entry: OfflineEntry): Promise<void> => {
  await makeFolder(runtimeFolder, 0o711)
  await mkdir(entry.folder, { mode: 0o700 })
  const { id, machine, snapshot } = entry
  const remnant: Remnant = { id, machine: { name: machine.name, address: machine.address }, snapshot }
  await writeFile(remnantFile(entry.folder), JSON.stringify(remnant), { mode: 0o600 })
}

export const removeLeaseFolder = (folder: string): Promise<void> =>
  rm(folder, { recursive: true, force: true, maxRetries: REMOVALS_MAX })

const readRemnant = async (folder: string): Promise<Remnant | null> => {
  try {
    return v.parse(v.pipe(v.string(), v.parseJson(), remnantSchema), await readFile(remnantFile(folder), 'utf8'))
  } catch {
    return null
  }
}

/** Folders of leases that one of these agents began with this driver. */
export const leaseFolders = async (
  runtimeFolder: string,
  agents: readonly string[],
): Promise<readonly { readonly folder: string; readonly remnant: Remnant }[]> => {
  const own = agents.map((agent) => `varve-${agentTag(agent)}-`)
  const found: { folder: string; remnant: Remnant }[] = []
  for (const name of await readdir(runtimeFolder).catch(() => [])) {
    if (!own.some((prefix) => name.startsWith(prefix))) continue
    const folder = join(runtimeFolder, name)
    const remnant = await readRemnant(folder)
    if (remnant !== null) found.push({ folder, remnant })
  }
  return found
}
