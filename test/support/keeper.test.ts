// Runs of a test that hangs, ended in every way: no process that it started is left, and no folder.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { isRunning, processesOf, processOf, type ProcessId } from './leftovers.ts'
import { clearFormerRuns } from './run-folder.ts'
import { LIFELINE_VARIABLE } from './run-setup.ts'
import { eventually, tempFolder } from './temp.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const VITEST = path.join(ROOT, 'node_modules/vitest/vitest.mjs')
const CONFIG = path.join(ROOT, 'test/support/hanging/vitest.config.ts')
const PATIENCE_MS = { none: 500, endless: 600_000 } as const

interface Hanging extends AsyncDisposable {
  /** The temporary folder that it was given. */
  readonly base: string
  /** The process of the run, that of the test file, and what that one started. */
  readonly run: ProcessId
  readonly file: ProcessId
  readonly guard: ProcessId
  readonly ended: Promise<{ readonly code: number | null; readonly stderr: string }>
  letGo(): void
}

const startHanging = async (patience: keyof typeof PATIENCE_MS): Promise<Hanging> => {
  const temp = await tempFolder()
  const file = temp.join('pids')
  const args = ['run', '--config', CONFIG, '--reporter', 'dot']
  const env = {
    ...process.env,
    TMPDIR: temp.path,
    VARVE_HANGING_FILE: file,
    VARVE_HANGING_MS: String(PATIENCE_MS[patience]),
    [LIFELINE_VARIABLE]: 'stdin',
  }
  const child = spawn(process.execPath, [VITEST, ...args], { cwd: ROOT, stdio: ['pipe', 'pipe', 'pipe'], env })
  let stderr = ''
  let stdout = ''
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()))
  child.stdout.on('data', (part: Buffer) => (stdout += part.toString()))
  child.stdin.on('error', () => {})
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stderr }))
  const pids = await eventually(() => {
    if (child.exitCode !== null) throw new Error(`it ended without a test: ${stdout}${stderr}`)
    return existsSync(file) && (JSON.parse(readFileSync(file, 'utf8') || 'null') as { guard: number; file: number })
  })
  const [run, own, guard] = await Promise.all([child.pid!, pids.file, pids.guard].map(processOf))
  return {
    base: temp.path,
    run: run!,
    file: own!,
    guard: guard!,
    ended,
    letGo: () => void child.stdin.end(),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await ended
      await temp[Symbol.asyncDispose]()
    },
  }
}

const kill = ({ pid }: ProcessId): void => void process.kill(pid, 'SIGKILL')

/** Waits until neither processes nor folders of its runs are there. */
const expectGone = async ({ base, file, guard }: Hanging): Promise<void> => {
  await eventually(async () => !(await isRunning(guard)) && !(await isRunning(file)))
  await eventually(async () => (await readdir(base)).every((name) => name === 'pids'))
  await eventually(async () => (await processesOf(base)).length === 0)
}

test('a test that takes too long fails, and what it started is ended and named', async () => {
  await using hanging = await startHanging('none')
  const { code, stderr } = await hanging.ended
  expect(code).toBe(1)
  expect(stderr).toMatch(new RegExp(`left by .*hanging.ts and ended: ${hanging.guard.pid} `))
  await expectGone(hanging)
})

test('a test file’s process that is killed', async () => {
  await using hanging = await startHanging('endless')
  kill(hanging.file)
  expect((await hanging.ended).code).toBe(1)
  await expectGone(hanging)
})

test('a run that is killed', async () => {
  await using hanging = await startHanging('endless')
  kill(hanging.run)
  await expectGone(hanging)
})

test('a run whose starter has gone', async () => {
  await using hanging = await startHanging('endless')
  hanging.letGo()
  await expectGone(hanging)
})

test('a run that is killed with its keeper: the next one ends what it left', async () => {
  await using hanging = await startHanging('endless')
  const { base } = hanging
  const all = await processesOf(base)
  expect(await clearFormerRuns(base)).toEqual([])
  const keeper = all.find(({ command }) => command.includes('keeper.ts'))!
  kill(keeper)
  kill(hanging.run)
  await hanging.ended
  expect(await isRunning(hanging.guard)).toBe(true)
  expect(await clearFormerRuns(base)).toContainEqual(expect.objectContaining(hanging.guard) as unknown)
  await expectGone(hanging)
})
