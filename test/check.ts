// Runs every check of the repository in order (types, lint, format, tests) and ends with the counts.
//
// Usage: node test/check.ts [--long | VITEST FILTER...]   Exit codes: 0 all passed, 1 something failed.
// Without a filter the tests that take long are left out; with --long they alone run.
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdtemp, readFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import path from 'node:path'
import * as v from 'valibot'
import { LONG_TESTS, NEWER_QEMU_TESTS } from './long.ts'
import { LIFELINE_VARIABLE } from './support/run-setup.ts'

interface Step {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
}

interface Counts {
  readonly passed: number
  readonly failed: number
}

const STATIC_STEPS: readonly Step[] = [
  { name: 'types', command: 'tsc', args: ['--build'] },
  { name: 'lint', command: 'oxlint', args: ['--type-aware', '--deny-warnings'] },
  { name: 'format', command: 'prettier', args: ['--check', '--log-level', 'warn', '.'] },
]

const reportSchema = v.object({
  numPassedTests: v.number(),
  numFailedTests: v.number(),
  testResults: v.array(
    v.object({
      name: v.string(),
      status: v.string(),
      startTime: v.number(),
      endTime: v.number(),
      assertionResults: v.array(v.object({ status: v.string() })),
    }),
  ),
})

/** Files whose times are shown, the longest first. */
const SLOWEST_COUNT = 25

const root = path.resolve(import.meta.dirname, '..')

/**
 * Runs one step with its output shown; resolves to its exit code, 128 + signal number where a signal ended it. The tests
 * end when this process does, however it does.
 */
const run = (step: Step): Promise<number> =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, [LIFELINE_VARIABLE]: 'stdin' }
    const child = spawn(step.command, step.args, { cwd: root, stdio: ['pipe', 'inherit', 'inherit'], env })
    child.stdin.on('error', () => {})
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })

/** Where the time of the tests went. */
const printSlowest = ({ testResults }: v.InferOutput<typeof reportSchema>): void => {
  const files = testResults.map(({ name, startTime, endTime }) => ({ name, seconds: (endTime - startTime) / 1000 }))
  const slowest = files.toSorted((one, other) => other.seconds - one.seconds).slice(0, SLOWEST_COUNT)
  for (const { name, seconds } of slowest)
    console.log(`${seconds.toFixed(1).padStart(7)} s  ${path.relative(root, name)}`)
}

/** The counts of vitest's report; a file that could not be loaded, or a failure outside every test, counts as one. */
const readCounts = async (reportPath: string, exitCode: number): Promise<Counts> => {
  const text = await readFile(reportPath, 'utf8').catch(() => undefined)
  if (text === undefined) return { passed: 0, failed: 1 }
  const report = v.parse(reportSchema, JSON.parse(text))
  printSlowest(report)
  const unloaded = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  const failed = report.numFailedTests + unloaded.length
  return { passed: report.numPassedTests, failed: exitCode !== 0 && failed === 0 ? 1 : failed }
}

const timings: string[] = []

const timed = async (step: Step): Promise<number> => {
  const startedMs = performance.now()
  const code = await run(step)
  timings.push(`${step.name} ${code === 0 ? 'ok' : 'FAILED'} ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  return code
}

const finish = (counts: Counts): number => {
  console.log(timings.join(' · '))
  console.log(`${counts.passed} passed, ${counts.failed} failed`)
  return counts.failed === 0 ? 0 : 1
}

/** What vitest is to run. */
const filters = (args: readonly string[]): readonly string[] => {
  if (args.length === 0) return [...LONG_TESTS, ...NEWER_QEMU_TESTS].map((file) => `--exclude=${file}`)
  return args[0] === '--long' ? LONG_TESTS : args
}

const main = async (): Promise<number> => {
  for (const step of STATIC_STEPS) {
    if ((await timed(step)) !== 0) return finish({ passed: 0, failed: 1 })
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'varve-check-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(128 + constants.signals[signal]))
  const reportPath = path.join(folder, 'report.json')
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`]
  const code = await timed({ name: 'tests', command: 'vitest', args: [...args, ...filters(process.argv.slice(2))] })
  return finish(await readCounts(reportPath, code))
}

process.exitCode = await main()
