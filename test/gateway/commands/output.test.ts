// What the program prints, to whoever reads it or does not.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { tempFolder } from '../../support/temp.ts'

const MAIN = path.join(import.meta.dirname, '../../../gateway/main.ts')

const TENANT = { idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }

/** The program's output cut off after its first line. */
const readOneLine = async (args: readonly string[]): Promise<{ line: string; stderr: string; code: unknown }> => {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()))
  const closed = once(child, 'close')
  const [first] = (await once(child.stdout, 'data')) as [Buffer]
  child.stdout.destroy()
  const [code] = await closed
  return { line: first.toString().split('\n')[0]!, stderr, code }
}

test('a reader that goes ends nothing and is no error; output that cannot be written is one', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.path]
  {
    using catalog = openLocal(temp.join('catalog.db'))
    // more than a pipe holds
    for (let index = 0; index < 750; index++)
      await catalog.tenants.add({ ...TENANT, name: `tenant-${index}-`.padEnd(63, 'x'), id: randomUUID() })
  }
  expect(await readOneLine(['tenant', 'list', ...at])).toEqual({
    line: expect.stringContaining('NAME') as string,
    stderr: '',
    code: EXIT.ok,
  })
  await using full = await open('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, 'tenant', 'list', ...at], { stdio: ['ignore', full.fd, 'pipe'] })
  let stderr = ''
  child.stderr!.on('data', (part: Buffer) => (stderr += part.toString()))
  const [code] = await once(child, 'close')
  expect(code).toBe(EXIT.failed)
  expect(stderr).toMatch(/^varve-gateway: not all output could be written: .*no space left.*\n$/u)
})
