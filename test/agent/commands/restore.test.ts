// The restore command against a real gateway that holds one restore point.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Peer } from '../../../protocol/peer.ts'
import { run } from '../../support/run.ts'
import { eventually } from '../../support/temp.ts'
import { backUp, command, startCommand, startStand, type Stand } from './stand.ts'

const execute = promisify(execFile)

const PROGRAM = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url))
const MIB = 1024 * 1024

/** A point of one disk. */
const pointOf = async (stand: Stand, disk: Buffer): Promise<string> => {
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      await backUp(peer, stand.temp, order, disk)
      return {}
    },
  })
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  return (await owner.call('backup.start', { machine: 'db1', full: false })).job
}

test('restores to a raw and to a qcow2 file, and refuses what is there', async () => {
  await using stand = await startStand()
  const { temp, config } = stand
  const disk = Buffer.concat([randomBytes(204_800), Buffer.alloc(1024 * 1024), randomBytes(5000 - (5000 % 512))])
  const point = await pointOf(stand, disk)
  const raw = temp.join('disk.raw')
  const restore = (...args: readonly string[]): ReturnType<typeof command> =>
    command('restore', point.slice(0, 8), '--disk', 'vda', ...args, ...config)

  const first = await restore('--to', raw, '--json')
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(first.stdout)).toMatchObject({
    point,
    machine: 'db1',
    disk: 'vda',
    to: raw,
    format: 'raw',
    size: disk.length,
  })
  expect((await readFile(raw)).equals(disk)).toBe(true)

  const again = await restore('--to', raw)
  expect(again.code).toBe(5)
  expect(again.stderr).toContain('--force')
  await writeFile(raw, 'damaged')
  expect((await restore('--to', raw, '--force')).code).toBe(0)
  expect((await readFile(raw)).equals(disk)).toBe(true)

  const qcow2 = temp.join('disk.qcow2')
  const second = await restore('--to', qcow2, '--format', 'qcow2')
  expect(second.code).toBe(0)
  expect(second.stdout).toContain('every chunk and the root checked')
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2])

  expect((await restore('--to', temp.join('no', 'folder'))).code).toBe(2)
  const other = await command('restore', point, '--disk', 'vdz', '--to', temp.join('x'), ...config)
  expect(other.code).toBe(1)
  expect(other.stderr).toContain('it has: vda')
  expect((await command('restore', '00000000', '--disk', 'vda', '--to', temp.join('x'), ...config)).code).toBe(1)
  expect((await readdir(temp.path)).filter((name) => name.includes('varve-restore') || name === 'x')).toEqual([])
})

test('Ctrl-C leaves neither the file nor a half of it', async () => {
  await using stand = await startStand()
  const { temp, config } = stand
  const point = await pointOf(stand, randomBytes(96 * 1024 * 1024))
  const to = temp.join('disk.raw')
  const halves = async (): Promise<string[]> =>
    (await readdir(temp.path)).filter((name) => name.startsWith('.varve-restore-'))
  const running = startCommand('restore', point, '--disk', 'vda', '--to', to, ...config)
  await eventually(async () => (await halves()).length > 0)
  running.child.kill('SIGINT')
  const { code, stderr } = await running.ended
  expect({ code, stderr }).toEqual({ code: 130, stderr: expect.stringContaining('CANCELLED') })
  expect(await halves()).toEqual([])
})

test('to standard output come the bytes alone, in order; a reader that ends early is an error, and nothing else is said there', async () => {
  await using stand = await startStand()
  const { temp, config } = stand
  const disk = Buffer.concat([randomBytes(MIB), Buffer.alloc(5 * MIB), randomBytes(3 * MIB + 512)])
  const point = await pointOf(stand, disk)
  const args = [PROGRAM, 'restore', point, '--disk', 'vda', '--to', '-', ...config]
  const out = temp.join('out.raw')
  for (const lead of [`| cat > ${out}`, `> ${out}`]) {
    const { stderr } = await execute('bash', ['-c', `set -o pipefail; "$@" ${lead}`, 'bash', process.execPath, ...args])
    expect(stderr).toMatch(/^varve-agent: Disk vda of db1 .* is in standard output/u)
    expect((await readFile(out)).equals(disk)).toBe(true)
  }
  const early = await execute('bash', [
    '-c',
    '"$@" | head -c 4096 | wc -c; echo "${PIPESTATUS[0]}"',
    'bash',
    process.execPath,
    ...args,
  ])
  expect(early.stdout).toBe('4096\n2\n')
  expect(early.stderr).toMatch(/standard output was closed before the disk was written/u)
  const json = await command('restore', point, '--disk', 'vda', '--to', '-', '--json', ...config)
  expect(json.code).toBe(2)
  const qcow2 = await command('restore', point, '--disk', 'vda', '--to', '-', '--format', 'qcow2', ...config)
  expect(qcow2).toMatchObject({ code: 2, stdout: '' })
})
