// Where a drill lies while it lasts: a private folder, one at a time; what an earlier one has left, killed or not, goes first.
import { lstat, mkdir, mkdtemp, readdir, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { fileError } from '../../protocol/host/file-error.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { isStateLocked, lockState } from '../state-lock.ts'

/** Below the folder for scratch; with the number of the user, whose it is. */
const BASE = 'varve-drill'

const DRILL = 'drill-'

/** Where nothing else is said: temporary files that may be large. */
export const SCRATCH_DEFAULT = process.env['TMPDIR'] ?? '/var/tmp'

export interface DrillFolder extends AsyncDisposable {
  readonly path: string
}

/** The user's own folder, which nobody else may change; TARGET_INVALID. */
const openBase = async (scratch: string): Promise<string> => {
  const user = process.getuid?.() ?? 0
  const base = path.join(path.resolve(scratch), `${BASE}-${user}`)
  try {
    await mkdir(base, { mode: 0o700 }).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
    const found = await lstat(base)
    if (found.isDirectory() && found.uid === user && (found.mode & 0o077) === 0) return base
  } catch (error) {
    throw fileError(base, error)
  }
  throw new VarveError(
    'TARGET_INVALID',
    `${base} is not a folder of this user alone: remove it, or name another folder with --scratch`,
  )
}

/** Removes all that drills have left; who has the lock knows that none runs. */
const sweep = async (base: string): Promise<void> => {
  for (const name of await readdir(base))
    if (name.startsWith(DRILL)) await rm(path.join(base, name), { recursive: true, force: true })
}

/** Makes one, which goes with its base when it is disposed of; STATE_LOCKED while another drill of this user runs there. */
export const openDrillFolder = async (scratch: string): Promise<DrillFolder> => {
  const base = await openBase(scratch)
  await using resources = new AsyncDisposableStack()
  resources.defer(() => rmdir(base).catch(() => undefined))
  if (await isStateLocked(base))
    throw new VarveError(
      'STATE_LOCKED',
      'another drill runs on this host, and one at a time is enough of a load: wait for it',
    )
  resources.use(await lockState(base))
  const folder = await (async () => {
    try {
      await sweep(base)
      return await mkdtemp(path.join(base, DRILL))
    } catch (error) {
      throw fileError(base, error)
    }
  })()
  resources.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  const all = resources.move()
  return { path: folder, [Symbol.asyncDispose]: () => all.disposeAsync() }
}
