// QEMU's image lock: who holds it keeps out a machine, and a machine keeps out us.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, symlink, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { holdImageLock, ImageLockError } from '../../../agent/restore/image-lock.ts'
import { startMachine } from '../../support/qemu.ts'
import { run } from '../../support/run.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { failureOf } from './code-of.ts'

const { PATH } = process.env

afterEach(() => {
  process.env['PATH'] = PATH
})

const held = (error: unknown): boolean => error instanceof ImageLockError && error.held

test('is not to be had on the disk of a running machine, and is free once that ends', async () => {
  await using temp = await tempFolder()
  const disks = [
    { id: 'vda', format: 'qcow2', file: temp.join('a.qcow2'), size: 1024 * 1024 },
    { id: 'vdb', format: 'raw', file: temp.join('b.raw'), size: 1024 * 1024 },
  ] as const
  await using machine = await startMachine({ folder: temp.path, disks })
  for (const { file } of disks) expect(held(await holdImageLock(file).catch((error: unknown) => error))).toBe(true)
  await machine.quit()
  for (const { file } of disks) await (await holdImageLock(file))[Symbol.asyncDispose]()
})

test('keeps everyone else who writes with locks out, and lets go', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, '1M'])
  const before = await readFile(file)
  {
    await using lock = await holdImageLock(file)
    expect(lock.pid).toBeGreaterThan(0)
    await expect(run('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', file])).rejects.toThrow(/lock/u)
  }
  expect((await readFile(file)).equals(before)).toBe(true)
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', file])
})

test('ends with the program that holds it, however that ends', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.raw')
  await writeFile(file, 'x'.repeat(4096))
  const module = fileURLToPath(new URL('../../../agent/restore/image-lock.ts', import.meta.url))
  const code = `const { holdImageLock } = await import(${JSON.stringify(module)})
    console.log((await holdImageLock(${JSON.stringify(file)})).pid)
    await new Promise((resolve) => setInterval(resolve, 2 ** 30))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const pid = Number(line.toString())
  child.kill('SIGKILL')
  await eventually(async () => (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ' Z ')).includes(' Z '))
})

test('says what else is wrong', async () => {
  await using temp = await tempFolder()
  const missing = await holdImageLock(temp.join('none')).catch((error: unknown) => error)
  expect(held(missing)).toBe(false)
  expect(String(missing)).toContain('No such file')
  await symlink('/nowhere', temp.join('qemu-io'))
  await chmod(temp.path, 0o755)
  process.env['PATH'] = temp.path
  expect(await failureOf(holdImageLock(temp.join('none')))).toMatchObject({
    code: 'TOOL_MISSING',
    message: expect.stringContaining('qemu-utils'),
  })
})
