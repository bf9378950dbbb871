// What the programs print.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { beginOutput, print, printJson, printTable, remark } from '../../../protocol/host/output.ts'
import { EXIT } from '../../../protocol/host/exit.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const printed = (action: () => void): string => {
  let text = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((part) => {
    text += String(part)
    return true
  })
  action()
  vi.restoreAllMocks()
  return text
}

test('tables are aligned and have no trailing blanks', () => {
  const rows = [
    ['a', 'long cell', ''],
    ['bb', 'x', 'end'],
  ]
  expect(printed(() => printTable(['ONE', 'TWO', 'THREE'], rows))).toBe(
    'ONE  TWO        THREE\na    long cell\nbb   x          end\n',
  )
})

test('JSON and text are one line each', () => {
  const output = (): void => {
    const begun = beginOutput('varve-agent', ['x', '--json'])
    printJson({ a: [1, 'ü\n'] })
    begun.end(null)
  }
  expect(printed(output)).toBe('{"a":[1,"ü\\n"]}\n')
  expect(printed(() => print('text'))).toBe('text\n')
})

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
  const output = beginOutput('varve-gateway', args)
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

test('a reader that goes ends nothing and is no error; output that cannot be written is one', async () => {
  const module = path.resolve(import.meta.dirname, '../../../protocol/host/output.ts')
  const program = `
    const { print, watchOutput } = await import(${JSON.stringify(module)})
    watchOutput('varve-agent')
    for (let line = 0; line < 20_000; line++) print('line ' + line)
    await new Promise((resolve) => setImmediate(resolve))
    process.stderr.write('to the end')`
  const args = ['--input-type=module', '-e', program]
  const cut = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const cutText: string[] = []
  cut.stderr.on('data', (part: Buffer) => cutText.push(part.toString()))
  const cutEnded = once(cut, 'close')
  await once(cut.stdout, 'data')
  cut.stdout.destroy()
  expect([await cutEnded, cutText.join('')]).toEqual([[EXIT.ok, null], 'to the end'])
  await using full = await open('/dev/full', 'w')
  const child = spawn(process.execPath, args, { stdio: ['ignore', full.fd, 'pipe'] })
  const text: string[] = []
  child.stderr!.on('data', (part: Buffer) => text.push(part.toString()))
  expect(await once(child, 'close')).toEqual([EXIT.failed, null])
  expect(text.join('')).toMatch(/^varve-agent: not all output could be written: .*no space left.*\nto the end$/u)
})
