// The tests of drivers, of storage and of the whole way, with QEMU and libvirt of each Debian: npm run test:versions
//
// Usage: node test/versions/main.ts [--releases bullseye,sid] [--suites qmp,offline] [--renew] [--json]
// As root. Exit codes: 0 all passed, or was refused as it must; 1 something failed.
// A command of another Debian runs in a mount namespace of its own, in which /usr is that of the unpacked packages.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as v from 'valibot'
import { LIFELINE_VARIABLE } from '../support/run-setup.ts'
import { RELEASES, SUITES, type Release, type Suite } from './suites.ts'

const project = path.resolve(import.meta.dirname, '../..')

/** Unpacked packages of each release, about 300 MB each, kept between runs. */
const ROOTS = path.join(project, 'node_modules/.cache/versions')

const fail = (sentence: string): never => {
  console.error(`test:versions: ${sentence}`)
  process.exit(1)
}

interface Ended {
  readonly code: number
  readonly output: string
}

/** Runs a program to its end; `shown` has its output on standard error too. What tests start ends with this process. */
const runTo = (command: readonly [string, ...string[]], shown: boolean): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, [LIFELINE_VARIABLE]: 'stdin' }
    const [program, ...args] = command
    const child = spawn(program, args, { cwd: project, env, stdio: ['pipe', 'pipe', shown ? 'inherit' : 'pipe'] })
    let output = ''
    child.stdin?.on('error', () => {})
    child.stdout?.on('data', (part: Buffer) => {
      output += part.toString()
      if (shown) process.stderr.write(part)
    })
    child.stderr?.on('data', (part: Buffer) => (output += part.toString()))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 1, output }))
  })

const rootOf = (release: Release): string => path.join(ROOTS, release)

/** The command as it runs on that Debian. */
const inside = (release: Release, command: readonly string[]): [string, ...string[]] => [
  ...(['unshare', '--mount', 'sh', '-c'] as const),
  'mount --make-rprivate / && mount --bind "$0" /usr && exec "$@"',
  path.join(rootOf(release), 'usr'),
  ...command,
]

const makeRoot = async (release: Release, renew: boolean): Promise<void> => {
  if (!renew && existsSync(path.join(rootOf(release), 'made'))) return
  console.error(`fetching QEMU and libvirt of ${release}`)
  const { code, output } = await runTo(['sh', 'test/versions/root.sh', release, rootOf(release)], false)
  if (code !== 0) fail(`there is no ${release}: ${output.slice(-2000)}`)
}

const versionOf = async (release: Release, program: string): Promise<string> => {
  const { output } = await runTo(inside(release, [program, '--version']), false)
  return /\d+\.\d+\.\d+/u.exec(output)?.[0] ?? 'unknown'
}

const reportSchema = v.object({
  testResults: v.array(
    v.object({ name: v.string(), status: v.string(), assertionResults: v.array(v.object({ status: v.string() })) }),
  ),
})
type FileResult = v.InferOutput<typeof reportSchema>['testResults'][number]

/** What became of a suite; `refused` is what the product says of such a version, `none` that QEMU cannot do it. */
type Outcome = { readonly passed: number; readonly failed: number } | { readonly refused: string } | 'none'

const count = (file: FileResult | undefined, status: 'passed' | 'failed'): number =>
  file?.assertionResults.filter((result) => result.status === status).length ?? 0

/** A file that is not in the report, or failed outside of its tests, counts as one. */
const outcomeOf = ({ files }: Suite, results: readonly FileResult[]): Outcome => {
  const found = files.map((file) => results.find(({ name }) => path.relative(project, name) === file))
  const failures = found.map((file) => count(file, 'failed') || (file?.status === 'passed' ? 0 : 1))
  const add = (sum: number, more: number): number => sum + more
  return {
    passed: found.map((file) => count(file, 'passed')).reduce(add, 0),
    failed: failures.reduce(add, 0),
  }
}

/** Runs the suites beside one another. */
const runSuites = async (release: Release, suites: readonly Suite[]): Promise<ReadonlyMap<string, Outcome>> => {
  if (suites.length === 0) return new Map()
  const folder = await mkdtemp(path.join(tmpdir(), 'varve-versions-'))
  try {
    const report = path.join(folder, 'report.json')
    const vitest = path.join(project, 'node_modules/vitest/vitest.mjs')
    const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
    console.error(`${release}: ${suites.map(({ name }) => name).join(', ')}`)
    await runTo(inside(release, [process.execPath, vitest, ...args, ...suites.flatMap(({ files }) => files)]), true)
    const text = await readFile(report, 'utf8').catch(() => '{"testResults":[]}')
    const { testResults } = v.parse(reportSchema, JSON.parse(text))
    return new Map(suites.map((suite) => [suite.name, outcomeOf(suite, testResults)]))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** That the product refuses this libvirt. */
const runRefusal = async (release: Release): Promise<Outcome> => {
  const { code, output } = await runTo(inside(release, [process.execPath, 'test/versions/refusal.ts']), false)
  if (code === 0) return { refused: v.parse(v.object({ message: v.string() }), JSON.parse(output.trim())).message }
  console.error(output)
  return { passed: 0, failed: 1 }
}

const isOlder = (version: string, [major, minor]: readonly [number, number]): boolean => {
  const [has = 0, hasMinor = 0] = version.split('.').map(Number)
  return has < major || (has === major && hasMinor < minor)
}

interface Row {
  readonly release: Release
  readonly qemu: string
  readonly libvirt: string
  /** The day on which its packages were fetched. */
  readonly fetched: string
  readonly outcomes: Readonly<Record<string, Outcome>>
}

const runRelease = async (release: Release, suites: readonly Suite[]): Promise<Row> => {
  const qemu = await versionOf(release, 'qemu-system-x86_64')
  const libvirt = await versionOf(release, 'libvirtd')
  const isRefused = ({ libvirtMin }: Suite): boolean => libvirtMin !== undefined && isOlder(libvirt, libvirtMin)
  const isNone = ({ qemuMin }: Suite): boolean => qemuMin !== undefined && isOlder(qemu, qemuMin)
  const ran = await runSuites(
    release,
    suites.filter((suite) => !isRefused(suite) && !isNone(suite)),
  )
  const refused = suites.some(isRefused) ? await runRefusal(release) : null
  const outcome = (suite: Suite): Outcome => ran.get(suite.name) ?? (isNone(suite) ? 'none' : refused!)
  const outcomes = Object.fromEntries(suites.map((suite) => [suite.name, outcome(suite)]))
  const fetched = (await readFile(path.join(rootOf(release), 'made'), 'utf8')).trim()
  return { release, qemu, libvirt, fetched, outcomes }
}

const cell = (outcome: Outcome | undefined): string => {
  if (outcome === undefined) return ''
  if (outcome === 'none') return '-'
  if ('refused' in outcome) return 'refused'
  return outcome.failed === 0
    ? `${outcome.passed} passed`
    : `${outcome.failed} of ${outcome.passed + outcome.failed} FAILED`
}

const printTable = (rows: readonly Row[], suites: readonly Suite[]): void => {
  const lines = [
    ['Debian', 'QEMU', 'libvirt', ...suites.map(({ name }) => name)],
    ...rows.map(({ release, qemu, libvirt, outcomes }) => [
      release,
      qemu,
      libvirt,
      ...suites.map(({ name }) => cell(outcomes[name])),
    ]),
  ]
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  for (const line of lines)
    console.log(
      line
        .map((text, column) => text.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
  for (const { release, outcomes } of rows)
    for (const outcome of Object.values(outcomes))
      if (outcome !== 'none' && 'refused' in outcome) console.log(`${release}: ${outcome.refused}`)
}

const chosen = <T>(wanted: string | undefined, all: readonly T[], nameOf: (one: T) => string): readonly T[] => {
  if (wanted === undefined) return all
  const names = wanted.split(',')
  const unknown = names.find((name) => !all.some((one) => nameOf(one) === name))
  if (unknown !== undefined) fail(`there is no "${unknown}": choose of ${all.map(nameOf).join(', ')}`)
  return all.filter((one) => names.includes(nameOf(one)))
}

const { values } = parseArgs({
  options: {
    releases: { type: 'string' },
    suites: { type: 'string' },
    renew: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
if (process.getuid?.() !== 0) fail('another /usr can be mounted only as root')
const suites = chosen(values.suites, SUITES, ({ name }) => name)
const rows: Row[] = []
for (const release of chosen(values.releases, RELEASES, (name) => name)) {
  await makeRoot(release, values.renew)
  rows.push(await runRelease(release, suites))
}
if (values.json) console.log(JSON.stringify({ date: new Date().toISOString().slice(0, 10), rows }))
else printTable(rows, suites)
const failed = rows.some(({ outcomes }) =>
  Object.values(outcomes).some((one) => one !== 'none' && 'failed' in one && one.failed > 0),
)
process.exitCode = failed ? 1 : 0
