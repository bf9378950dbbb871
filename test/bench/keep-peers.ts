// The peers' repositories and their commands that keep them, with options that suit a disk image.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from './measure.ts'

/** What is timed of each program. */
export const UPKEEP = {
  structure: 'check of the structure',
  data: 'check of everything, data read',
  forget: 'forget all but the newest versions',
  reclaim: 'give their space back',
} as const
export type Upkeep = keyof typeof UPKEEP

/** A program's commands around one repository, which lies in a folder that may be copied. */
export interface Peer {
  readonly name: string
  /** What is made once before the first backup. */
  readonly init: Command
  backup(version: number, file: string): Command
  /** Commands by what they do; where one command does two things, the second has none. */
  upkeep(keep: number): { readonly [U in Upkeep]: Command | null }
  /** Prints a line for each version in the repository. */
  readonly list: Command
}

/** restic as it comes: chunks by content, 1 MiB on average. */
export const restic = async (home: string): Promise<Peer> => {
  await mkdir(home, { recursive: true })
  const passwordFile = path.join(home, 'password')
  await writeFile(passwordFile, 'bench')
  const at = ['-r', path.join(home, 'repository'), '-p', passwordFile, '--cache-dir', path.join(home, 'cache')]
  const command = (...args: string[]): Command => ({ name: 'command', program: 'restic', args: ['-q', ...at, ...args] })
  return {
    name: 'restic',
    init: command('init'),
    backup: (_, file) => command('backup', file),
    upkeep: (keep) => ({
      structure: command('check'),
      data: command('check', '--read-data'),
      forget: command('forget', '--keep-last', String(keep), '--prune'),
      reclaim: null,
    }),
    list: command('list', 'snapshots'),
  }
}

/** borg with chunks of one size, in bytes. */
export const borg = async (home: string, name: string, chunkBytes: number): Promise<Peer> => {
  await mkdir(home, { recursive: true })
  const repository = path.join(home, 'repository')
  const env = {
    BORG_BASE_DIR: home,
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  }
  const command = (...args: string[]): Command => ({ name: 'command', program: 'borg', args, env })
  const chunks = ['--compression', 'zstd,1', '--chunker-params', `fixed,${chunkBytes}`, '--sparse']
  return {
    name,
    init: command('init', '-e', 'none', repository),
    backup: (version, file) => command('create', ...chunks, `${repository}::version-${version}`, file),
    upkeep: (keep) => ({
      structure: command('check', repository),
      data: command('check', '--verify-data', repository),
      forget: command('prune', '--keep-last', String(keep), repository),
      reclaim: command('compact', repository),
    }),
    list: command('list', '--short', repository),
  }
}
