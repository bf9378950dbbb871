// What a run prints: one document under --json whatever happens, instants by one rule, and lines otherwise.
import { expect, test } from 'vitest'
import { CommandOutput, jsonDocument, plain, wantsJson } from '../../../protocol/host/command-output.ts'
import { VarveError } from '../../../protocol/errors.ts'

const outputOf = (args: readonly string[]): { output: CommandOutput; said: { out: string; err: string } } => {
  const said = { out: '', err: '' }
  const streams = {
    out: (text: string): void => void (said.out += text),
    err: (text: string): void => void (said.err += text),
  }
  return { output: new CommandOutput('varve', args, streams), said }
}

test('every instant stands as text and in milliseconds, wherever it is; a length of time is none', () => {
  const value = {
    timeMs: 0,
    durationMs: 5,
    list: [{ seenMs: null, endedMs: 1000 }],
    Ms: 'x',
    bytes: new Uint8Array([1, 255]),
  }
  expect(plain(value)).toEqual({
    time: '1970-01-01T00:00:00.000Z',
    timeMs: 0,
    durationMs: 5,
    list: [{ seen: null, seenMs: null, ended: '1970-01-01T00:00:01.000Z', endedMs: 1000 }],
    Ms: 'x',
    bytes: '01ff',
  })
  expect(plain({ toJSON: () => ({ timeMs: 0 }) })).toEqual({ time: '1970-01-01T00:00:00.000Z', timeMs: 0 })
})

test('an error is part of the document, beside what was found out before it', () => {
  const error = new VarveError('JOB_RUNNING', 'a backup is running', { details: { job: 'j' } })
  expect(JSON.parse(jsonDocument({ points: [] }, error))).toEqual({
    points: [],
    error: { code: 'JOB_RUNNING', message: 'a backup is running', details: { job: 'j' }, exit: 5 },
  })
})

test('JSON is asked for among the options, not behind them', () => {
  expect([['a', '--json'], ['--json'], ['a'], ['a', '--', '--json'], ['--jsn']].map(wantsJson)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ])
})

test('under --json exactly one object, whether it ends well, fails, or was told before', () => {
  const good = outputOf(['list', '--json'])
  good.output.answer({ points: [1] })
  good.output.remark('one thing')
  expect([good.output.end(null), good.said]).toEqual([0, { out: '{"points":[1]}\n', err: 'varve: one thing\n' }])
  const bad = outputOf(['list', '--json'])
  expect(bad.output.end(new VarveError('NOT_FOUND', 'no'))).toBe(1)
  expect(bad.said).toEqual({
    out: '{"error":{"code":"NOT_FOUND","message":"no","details":{},"exit":1}}\n',
    err: 'varve: no (NOT_FOUND)\n',
  })
  const told = outputOf(['list', '--json'])
  expect(told.output.end(new VarveError('PARAMS_INVALID', 'no'), { told: true })).toBe(2)
  expect(told.said.err).toBe('')
  const help = outputOf(['--help', '--json'])
  expect([help.output.explained(), help.said.out]).toEqual([0, ''])
})

test('without it lines as they come, and errors on standard error alone', () => {
  const { output, said } = outputOf(['list'])
  output.print('one')
  output.answer({ points: [] })
  expect(output.end(new VarveError('CANCELLED', 'interrupted'))).toBe(130)
  expect(said).toEqual({ out: 'one\n', err: 'varve: interrupted (CANCELLED)\n' })
})

test('a list is printed row by row, and the whole is one document in one line', () => {
  const listed = (rows: readonly (readonly object[])[], answer: object, error: VarveError | null): unknown => {
    const { output, said } = outputOf(['--json'])
    for (const page of rows) output.rows('points', page)
    if (rows.length > 1) expect(said.out).toContain('{"points":[{')
    output.answer(answer)
    output.end(error)
    expect(said.out.trimEnd()).not.toContain('\n')
    return JSON.parse(said.out)
  }
  expect(listed([[]], {}, null)).toEqual({ points: [] })
  expect(listed([[], [{ seenMs: null }, { id: 2 }], [{ id: 3 }]], {}, null)).toEqual({
    points: [{ seen: null, seenMs: null }, { id: 2 }, { id: 3 }],
  })
  const error = new VarveError('CANCELLED', 'interrupted')
  expect(listed([[{ id: 1 }], [{ id: 2 }]], { more: 1 }, error)).toMatchObject({
    points: [{ id: 1 }, { id: 2 }],
    more: 1,
    error: { code: 'CANCELLED', exit: 130 },
  })
  const { output, said } = outputOf([])
  output.rows('points', [{ id: 1 }])
  expect(said.out).toBe('')
})

test('what others named moves no terminal, and reads in the order in which it is written', () => {
  const said: string[] = []
  const output = new CommandOutput('varve', [], { out: (text) => said.push(text), err: (text) => said.push(text) })
  output.print('a\u001b]0;b\u0007\u009b31m\tc\n\u202ed')
  output.remark('e\r\u001b[2K')
  expect(said).toEqual(['a\uFFFD]0;b\uFFFD\uFFFD31m\tc\n\uFFFDd\n', 'varve: e\uFFFD\uFFFD[2K\n'])
})
