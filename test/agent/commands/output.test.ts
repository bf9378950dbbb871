// What the commands print.
import { afterEach, expect, test, vi } from 'vitest'
import { localTime, print, printJson, printTable, Progress, size } from '../../../agent/commands/output.ts'

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
  expect(printed(() => printJson({ a: [1, 'ü\n'] }))).toBe('{"a":[1,"ü\\n"]}\n')
  expect(printed(() => print('text'))).toBe('text\n')
})

test('progress is rewritten in place on a terminal, and silent elsewhere', () => {
  let shown = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((part) => {
    shown += String(part)
    return true
  })
  const terminal = Object.getOwnPropertyDescriptor(process.stderr, 'isTTY')
  try {
    Object.defineProperty(process.stderr, 'isTTY', { value: true, configurable: true })
    {
      using progress = new Progress(true)
      progress.show('half done')
      progress.show('done')
    }
    expect(shown).toBe('\rhalf done\rdone     \r    \r')
    shown = ''
    new Progress(false).show('not wanted')
    Object.defineProperty(process.stderr, 'isTTY', { value: false, configurable: true })
    new Progress(true).show('no terminal')
    expect(shown).toBe('')
  } finally {
    if (terminal === undefined) Reflect.deleteProperty(process.stderr, 'isTTY')
    else Object.defineProperty(process.stderr, 'isTTY', terminal)
  }
})
