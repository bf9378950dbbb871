// The temporary folder of one run of the tests, and who it belongs to: all that a run starts has it, or a folder in it, as
// its TMPDIR.
import { chmod, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { clearFolder, isRunning, processOf, type Leftover } from './leftovers.ts'
import { run } from './run.ts'

/** Short, as Unix sockets below it must fit into 107 bytes. */
const PREFIX = 'vt-'

const OWNER_NAME = 'owner'

/** Memory that has to be available for tests' files to be kept in it, and what they may take of it, in bytes. */
const MEMORY_MIN_BYTES = 8 * 1024 ** 3
const MEMORY_FILES_BYTES = 4 * 1024 ** 3

/** Where the run's keeper listens. */
export const KEEPER_SOCKET = 'keeper'

/** Names the folder of the run to its test files. */
export const RUN_FOLDER_VARIABLE = 'VARVE_TEST_RUN'

const ownerSchema = v.pipe(v.string(), v.parseJson(), v.object({ pid: v.number(), startTicks: v.string() }))

/**
 * Has memory hold what is in the folder, where this process may mount and there is enough: tests kill programs and no machine,
 * and nothing of theirs has to be there after a power cut.
 */
const keepInMemory = async (folder: string): Promise<void> => {
  const [, available = '0'] = /^MemAvailable: +(\d+) kB$/mu.exec(await readFile('/proc/meminfo', 'utf8')) ?? []
  if (Number(available) * 1024 < MEMORY_MIN_BYTES) return
  await run('mount', ['-t', 'tmpfs', '-o', `size=${MEMORY_FILES_BYTES}`, 'tmpfs', folder]).catch(() => {})
}

/** Makes the folder of a run that lives as long as this process. */
export const makeRunFolder = async (base: string): Promise<string> => {
  const folder = await mkdtemp(path.join(base, PREFIX))
  await keepInMemory(folder)
  // what tests run as another user goes through it
  await chmod(folder, 0o755)
  await writeFile(path.join(folder, OWNER_NAME), JSON.stringify(await processOf(process.pid)))
  return folder
}

/** Ends and removes what runs left whose process is gone, however it went, and their keepers with them. */
export const clearFormerRuns = async (base: string): Promise<Leftover[]> => {
  const ended: Leftover[] = []
  for (const name of await readdir(base)) {
    const folder = path.join(base, name)
    const text = name.startsWith(PREFIX) ? await readFile(path.join(folder, OWNER_NAME), 'utf8').catch(() => '') : ''
    const owner = v.safeParse(ownerSchema, text)
    // without an owner it is somebody else's, or just being made
    if (owner.success && !(await isRunning(owner.output))) ended.push(...(await clearFolder(folder)))
  }
  return ended
}
