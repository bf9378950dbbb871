// The peers' part of a round: each does its usual work on the same image, with options that suit a disk image.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import type { Command } from './measure.ts'
import type { RoundOptions } from './varve.ts'

/** Backups of a file that has not changed must read it again, as a lost bitmap makes us do; both peers would skip it. */
const RESTIC_READ_AGAIN = ['--force']
const BORG_READ_AGAIN = ['--files-cache', 'disabled']

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

export const resticRound = async ({ image, folder, recorder, signal }: RoundOptions): Promise<void> => {
  const home = path.join(folder, 'restic')
  await mkdir(home)
  const passwordFile = path.join(home, 'password')
  await writeFile(passwordFile, 'bench')
  const common = [
    '-q',
    '-r',
    path.join(home, 'repository'),
    '-p',
    passwordFile,
    '--cache-dir',
    path.join(home, 'cache'),
  ]
  const command = (...args: string[]): Command => ({ name: 'restic', program: 'restic', args: [...common, ...args] })
  await run('restic', [...common, 'init'], { signal })
  await recorder.time('restic-first', command('backup', image.raw))
  await recorder.time('restic-again', command('backup', ...RESTIC_READ_AGAIN, image.raw))
  // later versions can leave zeroes out, which suits a disk image
  const sparse = (await run('restic', ['restore', '--help'])).includes('--sparse') ? ['--sparse'] : []
  await recorder.time(
    'restic-restore',
    command('restore', 'latest', ...sparse, '--target', path.join(home, 'restored')),
  )
  await rm(home, { recursive: true })
}

export const borgRound = async ({ image, folder, recorder, signal }: RoundOptions): Promise<void> => {
  const home = path.join(folder, 'borg')
  const target = path.join(home, 'restored')
  await mkdir(target, { recursive: true })
  const repository = path.join(home, 'repository')
  const env = { BORG_BASE_DIR: home, BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes' }
  const command = (...args: string[]): Command => ({ name: 'borg', program: 'borg', args, env, cwd: target })
  const chunks = '--compression zstd,1 --chunker-params fixed,4194304 --sparse'.split(' ')
  await run('env', [...Object.entries(env).map((pair) => pair.join('=')), 'borg', 'init', '-e', 'none', repository], {
    signal,
  })
  await recorder.time('borg-first', command('create', ...chunks, `${repository}::first`, image.raw))
  await recorder.time('borg-again', command('create', ...chunks, ...BORG_READ_AGAIN, `${repository}::again`, image.raw))
  await recorder.time('borg-restore', command('extract', '--sparse', `${repository}::first`))
  await rm(home, { recursive: true })
}
