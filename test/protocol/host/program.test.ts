// One run of a program: its exit code and words for an answer, an error, wrong arguments, and help.
import { Command } from 'commander'
import { afterEach, expect, test, vi } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { print } from '../../../protocol/host/output.ts'
import { runProgram } from '../../../protocol/host/program.ts'
import { VERSION } from '../../../protocol/host/version.ts'

afterEach(() => vi.restoreAllMocks())

const run = async (...args: readonly string[]): Promise<{ code: number; out: string; err: string }> => {
  const said = { out: '', err: '' }
  for (const [stream, name] of [
    [process.stdout, 'out'],
    [process.stderr, 'err'],
  ] as const)
    vi.spyOn(stream, 'write').mockImplementation((part) => {
      said[name] += String(part)
      return true
    })
  const program = new Command('varve').version(VERSION).exitOverride()
  program.command('look').action(() => print('seen'))
  program.command('fail').action(() => {
    throw new VarveError('JOB_RUNNING', 'a backup is running')
  })
  program.command('read').action(() => {
    throw Object.assign(new Error('no'), { code: 'ENOENT', syscall: 'open', path: '/none' })
  })
  const code = await runProgram(program, args)
  vi.restoreAllMocks()
  return { code, ...said }
}

test('an answer, an error, a failure of the system, wrong arguments and a version', async () => {
  expect(await run('look')).toEqual({ code: EXIT.ok, out: 'seen\n', err: '' })
  expect(await run('fail')).toEqual({ code: EXIT.refused, out: '', err: 'varve: a backup is running (JOB_RUNNING)\n' })
  expect(await run('read')).toMatchObject({ code: EXIT.usage, err: expect.stringContaining('/none') as string })
  const wrong = await run('fly', '--json')
  expect([wrong.code, JSON.parse(wrong.out)]).toMatchObject([
    EXIT.usage,
    { error: { code: 'PARAMS_INVALID', message: "unknown command 'fly'" } },
  ])
  expect(await run('--version')).toEqual({ code: EXIT.ok, out: `${VERSION}\n`, err: '' })
})
