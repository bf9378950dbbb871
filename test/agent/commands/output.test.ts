// What the commands print.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { beginOutput, localTime, print, printJson, printTable, size } from '../../../agent/commands/output.ts'
import { EXIT } from '../../../protocol/exit.ts'

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

test('sizes are as people read them', () => {
  expect([0, 1, 1023, 1024, 1536, 102_400, 2 ** 30, 2.5 * 2 ** 40, 2 ** 50].map(size)).toEqual([
    '0 B',
    '1 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '100 KiB',
    '1.0 GiB',
    '2.5 TiB',
    '1.0 PiB',
  ])
})

test('times are in UTC to the second', () => {
  expect(localTime(Date.UTC(2026, 1, 3, 4, 5, 6, 789))).toBe('2026-02-03 04:05:06')
})

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
    const begun = beginOutput(['x', '--json'])
    printJson({ a: [1, 'ü\n'] })
    begun.end(null)
  }
  expect(printed(output)).toBe('{"a":[1,"ü\\n"]}\n')
  expect(printed(() => print('text'))).toBe('text\n')
})

test('a reader that goes ends nothing and is no error; output that cannot be written is one', async () => {
  const module = path.resolve(import.meta.dirname, '../../../agent/commands/output.ts')
  const program = `
    const { print, watchOutput } = await import(${JSON.stringify(module)})
    watchOutput()
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
