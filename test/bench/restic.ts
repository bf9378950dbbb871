// The newest restic that starts here: the one of Debian sid that test/setup.sh has fetched, beside Debian 12's own.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'

const folder = path.resolve(import.meta.dirname, '../../node_modules/.cache/restic')

export interface NewestRestic {
  /** Null: not available. */
  readonly program: string | null
  /** Its version, or why it is not available. */
  readonly told: string
}

export const newestRestic = async (): Promise<NewestRestic> => {
  const program = path.join(folder, 'restic')
  try {
    return { program, told: (await run(program, ['version'])).trim() }
  } catch (error) {
    const kept = await readFile(path.join(folder, 'missing'), 'utf8').catch(() => '')
    return { program: null, told: kept.trim() || (error instanceof Error ? error.message : String(error)) }
  }
}
