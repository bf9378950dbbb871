// The benchmark: runs scenarios and writes what each measured beside what is aimed at.
//
// Usage: node test/bench/main.ts [SCENARIO[:PART]...] [--rounds N] [--quick] [--cache DIR] [--results DIR]
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
import { mkdir, readdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { run as compare } from './compare.ts'
import { run as ofConsole } from './console.ts'
import { parts as dataPathParts, run as dataPath } from './data-path.ts'
import { run as day } from './day.ts'
import { run as ofExport } from './export.ts'
import { run as fleecing } from './fleecing.ts'
import { parts as fleetParts, run as fleet } from './fleet.ts'
import { run as frames } from './frames.ts'
import { describeHost, requirePrograms, type Host } from './host.ts'
import { parts as keepParts, run as keep } from './keep.ts'
import { run as libvirt } from './libvirt.ts'
import { run as instant } from './instant.ts'
import { run as link } from './link.ts'
import { resultsText, writeResults } from './report.ts'
import { run as onto } from './onto.ts'
import { run as readers } from './readers.ts'
import { parts as scaleParts, run as scale } from './scale.ts'
import { run as schedules } from './schedules.ts'
import type { Scenario } from './scenario.ts'

const ROUNDS = 3

const SCENARIOS: readonly Scenario[] = [
  { name: 'data-path', title: 'whole backups and restores beside other programs', run: dataPath, parts: dataPathParts },
  { name: 'frames', title: 'ways to store chunks, alone and together', run: frames },
  { name: 'compare', title: 'what the comparison of unchanged chunks costs an increment', run: compare },
  { name: 'export', title: 'exports of restore points beside restores and qemu-nbd', run: ofExport },
  { name: 'onto', title: 'restores of what differs beside whole ones', run: onto },
  { name: 'instant', title: 'a machine that runs before it is restored, beside a restore', run: instant },
  { name: 'fleecing', title: 'what a guest pays for its backup, by the way it is read and by its QEMU', run: fleecing },
  { name: 'fleet', title: 'many agents on one gateway', run: fleet, parts: fleetParts },
  { name: 'readers', title: 'lists, usage and verification beside uploads', run: readers },
  { name: 'link', title: 'a slow and distant link', run: link },
  { name: 'scale', title: 'large disks, a large index, many restore points', run: scale, parts: scaleParts },
  { name: 'day', title: 'a day of backups while the store is pruned, collected and verified', run: day },
  {
    name: 'keep',
    title: 'prune, collection and verification beside other programs and beside many points',
    run: keep,
    parts: keepParts,
  },
  { name: 'schedules', title: 'what the plans of 10,000 idle machines cost', run: schedules },
  { name: 'console', title: 'the console with 10,000 machines and 100,000 points', run: ofConsole },
  { name: 'libvirt', title: 'a libvirt domain beside virtnbdbackup, and both at once', run: libvirt },
]

const USAGE = `Times Varve beside other programs and beside its goals.

  node test/bench/main.ts [SCENARIO[:PART]...] [OPTION...]

${SCENARIOS.map(({ name, title, parts }) => {
  const names = parts === undefined ? '' : ` (${Object.keys(parts).join(', ')})`
  return `  ${name.padEnd(14)} ${title}${names}`
}).join('\n')}

All of them unless some are named; SCENARIO:PART runs one of the parts in parentheses alone.

  --rounds N     rounds, of which medians are shown (${ROUNDS})
  --quick        one round of a small run, to see that all works
  --cache DIR    where images are kept and all else lies while it runs (~/.cache/varve-bench)
  --results DIR  where the results are written (test/bench/results)
`

class UsageError extends Error {}

interface Options {
  readonly scenarios: readonly Scenario[]
  readonly rounds: number
  readonly quick: boolean
  readonly cache: string
  readonly results: string
}

/** A scenario by its name, or one part of it by SCENARIO:PART. */
const scenarioOf = (wanted: string): Scenario => {
  const [name = '', part] = wanted.split(':')
  const found = SCENARIOS.find((one) => one.name === name)
  if (found === undefined) throw new UsageError(`there is no scenario "${name}"; --help names them`)
  if (part === undefined) return found
  const run = found.parts?.[part]
  if (run === undefined) throw new UsageError(`scenario ${name} has no part "${part}"; --help names them`)
  return { name: `${name}-${part}`, title: `${found.title}; ${part} only`, run }
}

const parse = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      cache: { type: 'string', default: path.join(homedir(), '.cache/varve-bench') },
      results: { type: 'string', default: path.join(import.meta.dirname, 'results') },
      help: { type: 'boolean', default: false },
    },
  })

/** Null when only help is wanted. */
const readOptions = (): Options | null => {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse()
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
  const { values, positionals } = parsed
  if (values.help) return null
  const { quick } = values
  const rounds = Number(values.rounds ?? (quick ? 1 : ROUNDS))
  if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError('--rounds takes a whole number from 1 on')
  const scenarios = positionals.length === 0 ? SCENARIOS : positionals.map(scenarioOf)
  return { scenarios, rounds, quick, cache: path.resolve(values.cache), results: path.resolve(values.results) }
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Removes what runs left behind that were killed. */
const removeLeftovers = async (cache: string): Promise<void> => {
  for (const name of await readdir(cache)) {
    const pid = /^(?:run-|image-.*\.)(\d+)(?:\.new)?$/.exec(name)?.[1]
    if (pid !== undefined && !isRunning(Number(pid))) await rm(path.join(cache, name), { recursive: true })
  }
}

/** Runs one scenario in a folder of its own, shows its results and writes them. */
const runScenario = async (scenario: Scenario, options: Options, host: Host, signal: AbortSignal): Promise<void> => {
  const { rounds, quick, cache, results } = options
  const { name, title } = scenario
  const time = new Date().toISOString()
  const folder = path.join(cache, `run-${process.pid}`)
  const say = (line: string): void => console.error(`${name}: ${line}`)
  try {
    await mkdir(folder)
    const report = await scenario.run({ cache, folder, rounds, quick, signal, say })
    const all = { what: quick ? `${name}-quick` : name, title, time, rounds, host, report }
    console.log(resultsText(all))
    console.log(`Written to ${await writeResults(results, all)}.json and .md`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const bench = async (options: Options, signal: AbortSignal): Promise<void> => {
  const { scenarios, cache } = options
  await requirePrograms()
  await mkdir(cache, { recursive: true })
  await removeLeftovers(cache)
  const host = await describeHost(cache)
  for (const scenario of scenarios) await runScenario(scenario, options, host, signal)
}

const main = async (): Promise<number> => {
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interruption.abort())
  try {
    const options = readOptions()
    if (options === null) console.log(USAGE)
    else await bench(options, interruption.signal)
    return 0
  } catch (error) {
    if (interruption.signal.aborted) return 130
    console.error(error instanceof Error ? error.message : error)
    return error instanceof UsageError ? 2 : 1
  }
}

process.exitCode = await main()
