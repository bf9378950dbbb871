// The peers' part of a round: each does its usual work on the same image, with options that suit a disk image.
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { startMachine } from '../support/qemu.ts'
import { tempFolder } from '../support/temp.ts'
import type { Command } from './measure.ts'
import { exported } from './nbd-export.ts'
import type { OperationId } from './recorder.ts'
import { DISK } from './stand.ts'
import type { RoundOptions } from './varve.ts'

/** Backups of a file that has not changed must read it again, as a lost bitmap makes us do; both peers would skip it. */
const RESTIC_READ_AGAIN = ['--force']
const BORG_READ_AGAIN = ['--files-cache', 'disabled']

const BORG_CHUNKS = '--compression zstd,1 --chunker-params fixed,4194304 --sparse'.split(' ')

const zstd = (...args: string[]): Command => ({ name: 'zstd', program: 'zstd', args: ['-q', ...args] })

/** Programs that do one part of the work each. */
export const singleRound = async ({ image, folder, recorder }: RoundOptions): Promise<void> => {
  const compressed = path.join(folder, 'disk.zst')
  const restored = path.join(folder, 'disk.unzst')
  const qcow2 = path.join(folder, 'converted.qcow2')
  await recorder.time('zstd', zstd('-1', '-T2', image.raw, '-o', compressed))
  await recorder.time('zstd-decompress', zstd('-d', compressed, '-o', restored))
  await rm(compressed)
  await rm(restored)
  const options = '-f qcow2 -O qcow2 -c -o compression_type=zstd -m 8 -W'.split(' ')
  // its default lets the end of the copy stay in memory
  const args = ['convert', '-t', 'writeback', ...options, image.qcow2, qcow2]
  await recorder.time('qemu-img', { name: 'qemu-img', program: 'qemu-img', args })
  await rm(qcow2)
}

/** A repository of one program in a folder. */
interface Repository {
  readonly home: string
  command(...args: string[]): Command
}

const resticRepository = async (program: string, { folder, signal }: RoundOptions): Promise<Repository> => {
  const home = path.join(folder, 'restic')
  await mkdir(home)
  const passwordFile = path.join(home, 'password')
  await writeFile(passwordFile, 'bench')
  const where = ['-r', path.join(home, 'repository'), '-p', passwordFile, '--cache-dir', path.join(home, 'cache')]
  await run(program, ['-q', ...where, 'init'], { signal })
  return { home, command: (...args) => ({ name: 'restic', program, args: ['-q', ...where, ...args] }) }
}

const borgRepository = async ({ folder, signal }: RoundOptions): Promise<Repository> => {
  const home = path.join(folder, 'borg')
  const cwd = path.join(home, 'restored')
  await mkdir(cwd, { recursive: true })
  const repository = path.join(home, 'repository')
  const env = { BORG_BASE_DIR: home, BORG_REPO: repository, BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes' }
  const settings = Object.entries(env).map((pair) => pair.join('='))
  await run('env', [...settings, 'borg', 'init', '-e', 'none'], { signal })
  return { home, command: (...args) => ({ name: 'borg', program: 'borg', args, env, cwd }) }
}

const resticOperations = async (
  program: string,
  operations: readonly [first: OperationId, again: OperationId, restore: OperationId],
  options: RoundOptions,
): Promise<void> => {
  const { image, recorder } = options
  const { home, command } = await resticRepository(program, options)
  const [first, again, restore] = operations
  await recorder.time(first, command('backup', image.raw))
  await recorder.time(again, command('backup', ...RESTIC_READ_AGAIN, image.raw))
  // later versions can leave zeroes out, which suits a disk image
  const sparse = (await run(program, ['restore', '--help'])).includes('--sparse') ? ['--sparse'] : []
  await recorder.time(restore, command('restore', 'latest', ...sparse, '--target', path.join(home, 'restored')))
  await rm(home, { recursive: true })
}

export const resticRound = (options: RoundOptions): Promise<void> =>
  resticOperations('restic', ['restic-first', 'restic-again', 'restic-restore'], options)

/** With another restic, a file that is no part of this system. */
export const sidResticRound = (program: string, options: RoundOptions): Promise<void> =>
  resticOperations(program, ['sid-restic-first', 'sid-restic-again', 'sid-restic-restore'], options)

export const borgRound = async (options: RoundOptions): Promise<void> => {
  const { image, recorder } = options
  const { home, command } = await borgRepository(options)
  await recorder.time('borg-first', command('create', ...BORG_CHUNKS, '::first', image.raw))
  await recorder.time('borg-again', command('create', ...BORG_CHUNKS, ...BORG_READ_AGAIN, '::again', image.raw))
  await recorder.time('borg-restore', command('extract', '--sparse', '::first'))
  await rm(home, { recursive: true })
}

/** A command that is given on its standard input what nbdcopy reads. */
const fed = (uri: string, { name, program, args, ...rest }: Command): Command => {
  const script = 'set -o pipefail; nbdcopy "$0" - | "$@"'
  return { ...rest, name: `nbdcopy and ${name}`, program: 'bash', args: ['-c', script, uri, program, ...args] }
}

/** The same behind QEMU's NBD server, where ours reads from too; `restic` is the program. */
export const pipedRound = async (restic: string, options: RoundOptions): Promise<void> => {
  const { image, folder, recorder } = options
  const file = path.join(folder, 'piped.qcow2')
  await copyFile(image.qcow2, file)
  await using sockets = await tempFolder('varve-bench')
  const disks = [{ id: DISK, format: 'qcow2' as const, file, size: image.size }]
  await using machine = await startMachine({ folder: sockets.path, name: 'piped', disks })
  const qemu = { name: 'QEMU', pid: machine.pid }
  await exported({ control: machine.control, node: DISK, socketFolder: sockets.path }, async (uri) => {
    const time = (operation: OperationId, command: Command): Promise<string> =>
      recorder.time(operation, fed(uri, command), [qemu])
    const one = await resticRepository(restic, options)
    for (const operation of ['piped-restic-first', 'piped-restic-again'] as const)
      await time(operation, one.command('backup', '--stdin', '--stdin-filename', 'disk.raw'))
    await rm(one.home, { recursive: true })
    const other = await borgRepository(options)
    for (const operation of ['piped-borg-first', 'piped-borg-again'] as const)
      await time(operation, other.command('create', ...BORG_CHUNKS, `::${operation}`, '-'))
    await rm(other.home, { recursive: true })
  })
  await rm(file)
}
