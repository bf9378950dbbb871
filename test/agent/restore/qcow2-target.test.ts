// qcow2 targets with the real qemu-img and qemu-nbd.
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { afterEach, expect, test } from 'vitest'
import { makeQcow2File } from '../../../agent/restore/qcow2-target.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { run } from '../../support/run.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'
import { tinyFileSystem } from './devices.ts'

const MIB = 1024 * 1024
const PATH = process.env['PATH']

afterEach(() => {
  process.env['PATH'] = PATH
})

/** Process ids of programs that have this text among their arguments. */
const programsWith = async (text: string): Promise<string[]> => {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/u.test(name) && name !== String(process.pid))
  const found: string[] = []
  for (const pid of pids) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.includes(text)) found.push(pid)
  }
  return found
}

test('holds exactly the disk, and has its name only at the end', async () => {
  await using temp = await tempFolder()
  const final = temp.join('disk.qcow2')
  const disk = Buffer.alloc(16 * MIB + 512)
  randomBytes(MIB).copy(disk, 0)
  randomBytes(512).copy(disk, 16 * MIB)
  {
    await using target = await makeQcow2File(final, disk.length, { force: false })
    await target.write(0, disk.subarray(0, MIB))
    await target.zero()
    await target.write(16 * MIB, disk.subarray(16 * MIB))
    expect(await readdir(temp.path)).toEqual([expect.stringMatching(/^\.varve-restore-/u)])
    await commitTarget(target)
    expect(await programsWith(temp.path)).toEqual([])
  }
  expect(await readdir(temp.path)).toEqual(['disk.qcow2'])
  expect((await stat(final)).mode & 0o777).toBe(0o600)
  expect((await stat(final)).size).toBeLessThan(3 * MIB)
  await writeFile(temp.join('disk.raw'), disk)
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', final, temp.join('disk.raw')])
  await run('qemu-img', ['check', '-q', final])
})

test('leaves neither a file nor a program behind when it is not committed', async () => {
  await using temp = await tempFolder()
  {
    await using target = await makeQcow2File(temp.join('disk.qcow2'), MIB, { force: false })
    await target.write(0, randomBytes(65_536))
    expect(await programsWith(temp.path)).toHaveLength(1)
  }
  expect(await readdir(temp.path)).toEqual([])
  expect(await programsWith(temp.path)).toEqual([])
})

test('never replaces a file that appeared meanwhile, unless it was told to', async () => {
  await using temp = await tempFolder()
  const final = temp.join('disk.qcow2')
  {
    await using target = await makeQcow2File(final, MIB, { force: false })
    await writeFile(final, 'precious')
    expect(await codeOf(commitTarget(target))).toBe('TARGET_EXISTS')
  }
  expect(await readFile(final, 'utf8')).toBe('precious')
  await using target = await makeQcow2File(final, MIB, { force: true })
  await commitTarget(target)
  expect((await readFile(final)).subarray(0, 3).toString()).toBe('QFI')
  expect(await readdir(temp.path)).toEqual(['disk.qcow2'])
})

test('names the tool that is missing', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('bin'))
  await mkdir(temp.join('out'))
  process.env['PATH'] = temp.join('bin')
  const first = await failureOf(makeQcow2File(temp.join('out', 'disk'), MIB, { force: false }))
  expect(first?.code).toBe('TOOL_MISSING')
  expect(first?.message).toContain('qemu-img')
  const found = (PATH ?? '').split(':').map((folder) => `${folder}/qemu-img`)
  for (const program of found)
    if ((await stat(program).catch(() => null)) !== null)
      await symlink(program, temp.join('bin', 'qemu-img')).catch(() => undefined)
  expect(await readlink(temp.join('bin', 'qemu-img'))).toContain('qemu-img')
  const second = await failureOf(makeQcow2File(temp.join('out', 'disk'), MIB, { force: false }))
  expect(second?.code).toBe('TOOL_MISSING')
  expect(second?.message).toContain('qemu-nbd')
  expect(await readdir(temp.join('out'))).toEqual([])
})

test('passes on what a tool says', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('bin'))
  await writeFile(temp.join('bin', 'qemu-img'), '#!/bin/sh\necho "qemu-img: the moon is wrong" >&2\nexit 1\n')
  await chmod(temp.join('bin', 'qemu-img'), 0o755)
  process.env['PATH'] = `${temp.join('bin')}:${PATH}`
  const error = await failureOf(makeQcow2File(temp.join('disk'), MIB, { force: false }))
  expect(error).toMatchObject({ code: 'TARGET_INVALID', message: 'qemu-img: the moon is wrong' })
  expect(await readdir(temp.path)).toEqual(['bin'])
})

test('on a full file system ends with a sentence and without a trace', async (context) => {
  await using temp = await tempFolder()
  await using small = await tinyFileSystem(temp.join('small'), 2 * MIB)
  // a host that lets nobody mount has nothing to test here
  if (small === null) {
    context.skip('this process may not mount a file system')
    return
  }
  const write = async (): Promise<void> => {
    await using target = await makeQcow2File(`${small.path}/disk.qcow2`, 8 * MIB, { force: false })
    for (let at = 0; at < 8; at++) await target.write(at * MIB, randomBytes(MIB))
    await commitTarget(target)
  }
  const error = await failureOf(write())
  expect(error?.code).toBe('TARGET_INVALID')
  expect(error?.message).toMatch(/cannot write .*disk\.qcow2: no space left/u)
  expect(await readdir(small.path)).toEqual([])
})

test('its server ends by itself when the program that writes is killed', async () => {
  await using temp = await tempFolder()
  const module = new URL('../../../agent/restore/qcow2-target.ts', import.meta.url).href
  const code = `const { makeQcow2File } = await import(${JSON.stringify(module)})
    await makeQcow2File(${JSON.stringify(temp.join('disk.qcow2'))}, 65536, false)
    process.kill(process.pid, 'SIGKILL')`
  await run(process.execPath, ['--input-type=module', '-e', code]).catch(() => undefined)
  expect(await readdir(temp.path)).toHaveLength(1)
  await eventually(async () => (await programsWith(temp.path)).length === 0)
})

test('takes a folder for temporary files of any length, and tells of one that is not there', async () => {
  await using temp = await tempFolder()
  const { TMPDIR } = process.env
  try {
    const long = temp.join('t'.repeat(200), 'u'.repeat(200))
    await mkdir(long, { recursive: true })
    process.env['TMPDIR'] = long
    {
      await using target = await makeQcow2File(temp.join('disk.qcow2'), MIB, { force: false })
      await commitTarget(target)
    }
    expect(await readdir(long)).toEqual([])
    process.env['TMPDIR'] = temp.join('missing')
    const error = await failureOf(makeQcow2File(temp.join('other.qcow2'), MIB, { force: false }))
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('set TMPDIR to a folder') })
    expect((await readdir(temp.path)).filter((name) => name !== 't'.repeat(200))).toEqual(['disk.qcow2'])
  } finally {
    process.env['TMPDIR'] = TMPDIR
  }
})
