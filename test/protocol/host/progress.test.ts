// What is shown on a terminal, in a file, and to whoever asked for JSON.
import { expect, test } from 'vitest'
import { Progress, type ProgressOutput } from '../../../protocol/host/progress.ts'

const output = (isTTY: boolean): ProgressOutput & { text: string } => ({
  text: '',
  isTTY,
  columns: 20,
  write(part) {
    this.text += part
  },
})

test('a terminal has one line that is rewritten, not too often, and gone before a sentence and at the end', () => {
  const terminal = output(true)
  let nowMs = 0
  {
    using progress = new Progress('varve-agent', true, terminal, () => nowMs)
    progress.show(() => 'half done')
    progress.show(() => 'never seen')
    nowMs = 200
    progress.show(() => 'done')
    progress.tell('look here')
    nowMs = 400
    progress.show(() => 'a line longer than the terminal')
  }
  const blank = (length: number): string => `\r${' '.repeat(length)}\r`
  expect(terminal.text).toBe(
    `\rhalf done\rdone     ${blank(4)}varve-agent: look here\n\ra line longer than t${blank(19)}`.replace(
      'than t',
      'than ',
    ),
  )
})

test('elsewhere there is a plain line now and then, and none of work that is soon done', () => {
  const file = output(false)
  let nowMs = 0
  using progress = new Progress('varve-agent', true, file, () => nowMs)
  progress.show(() => 'begun')
  nowMs = 29_999
  progress.show(() => 'soon')
  nowMs = 30_000
  progress.show(() => 'half done')
  nowMs = 59_000
  progress.show(() => 'nearly')
  progress.tell('look here')
  expect(file.text).toBe('varve-agent: half done\nvarve-agent: look here\n')
})

test('where it is not wanted, only what must be seen is written', () => {
  for (const shown of [output(true), output(false)]) {
    let nowMs = 0
    const progress = new Progress('varve-agent', false, shown, () => nowMs)
    nowMs = 60_000
    progress.show(() => 'not wanted')
    progress.tell('look here')
    expect(shown.text).toBe('varve-agent: look here\n')
  }
})
