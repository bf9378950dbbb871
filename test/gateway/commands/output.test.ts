// What the program prints: lines, tables and documents, to whoever reads them or does not.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { withCatalog } from '../../../gateway/commands/local.ts'
import { beginOutput, print, printJson, printTable, remark } from '../../../gateway/commands/output.ts'
import { EXIT } from '../../../protocol/exit.ts'
import { tempFolder } from '../../support/temp.ts'

const MAIN = path.join(import.meta.dirname, '../../../gateway/main.ts')

const TENANT = { name: 'acme', id: 'u', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }

afterEach(() => vi.restoreAllMocks())

/** What a run with these arguments writes. */
const written = (args: readonly string[], work: () => void): { out: string; err: string } => {
  const text = { out: '', err: '' }
  for (const [stream, name] of [
    [process.stdout, 'out'],
    [process.stderr, 'err'],
  ] as const)
    vi.spyOn(stream, 'write').mockImplementation((part) => {
      text[name] += String(part)
      return true
    })
  const output = beginOutput(args)
  work()
  output.end(null)
  vi.restoreAllMocks()
  return text
}

test('lines and tables go to standard output as they come, remarks to standard error, the document at the end', () => {
  const work = (): void => {
    print('a')
    remark('b')
    printJson({ c: [1] })
    printTable(
      ['NAME', 'SIZE'],
      [
        ['db1', '5 GiB'],
        ['longer', ''],
      ],
    )
  }
  const lines = 'a\nNAME    SIZE\ndb1     5 GiB\nlonger\n'
  expect(written(['x'], work)).toEqual({ out: lines, err: 'varve-gateway: b\n' })
  expect(written(['x', '--json'], () => printJson({ c: [1] })).out).toBe('{"c":[1]}\n')
})

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
  await withCatalog(
    temp.path,
    async (catalog) => {
      for (let index = 0; index < 3000; index++)
        await catalog.tenants.add({ ...TENANT, name: `tenant-${index}`, id: `u${index}` })
    },
    { make: true },
  )
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
