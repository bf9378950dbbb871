// The benchmark: whole backups and restores of a real QEMU's disk beside other programs on the same image.
//
// Usage: node test/bench/main.ts [--rounds N] [--quick] [--cache DIR] [--results DIR]
// Exit codes: 0 done, 1 failed, 130 interrupted.
import { mkdir, readdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { describeHost, requirePrograms, requireSpace } from './host.ts'
import { benchImage } from './image.ts'
import { peersRound } from './peers.ts'
import { Recorder } from './recorder.ts'
import { resultsText, writeResults } from './report.ts'
import { ratiosOf, summarise } from './statistics.ts'
import { varveRound } from './varve.ts'

const GIB = 2 ** 30
const IMAGE_BYTES = 4 * GIB
const QUICK_IMAGE_BYTES = GIB
const ROUNDS = 3

/** Disk space that a run may take at one time, as a multiple of the image's size. */
const SPACE_FACTOR = 6

const USAGE = `Times Varve beside nbdcopy, zstd, qemu-img, restic and borg on one image.

  --rounds N     rounds, of which medians are shown (${ROUNDS})
  --quick        one round on an image of 1 GiB instead of 4 GiB
  --cache DIR    where the image is kept and all else lies while it runs (~/.cache/varve-bench)
  --results DIR  where the results are written (test/bench/results)
`

interface Options {
  readonly rounds: number
  readonly quick: boolean
  readonly cache: string
  readonly results: string
}

const readOptions = (): Options | null => {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      cache: { type: 'string', default: path.join(homedir(), '.cache/varve-bench') },
      results: { type: 'string', default: path.join(import.meta.dirname, 'results') },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return null
  const rounds = Number(values.rounds ?? (values.quick ? 1 : ROUNDS))
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1 on')
  return { rounds, quick: values.quick, cache: path.resolve(values.cache), results: path.resolve(values.results) }
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

const bench = async ({ rounds, quick, cache, results }: Options, signal: AbortSignal): Promise<void> => {
  await requirePrograms()
  await mkdir(cache, { recursive: true })
  await removeLeftovers(cache)
  const size = quick ? QUICK_IMAGE_BYTES : IMAGE_BYTES
  await requireSpace(cache, SPACE_FACTOR * size)
  const time = new Date().toISOString()
  const host = await describeHost(cache)
  console.error('making the image, where it is not there from an earlier run')
  const image = await benchImage(cache, size, signal)
  const folder = path.join(cache, `run-${process.pid}`)
  const recorder = new Recorder(cache, signal)
  try {
    for (let round = 1; round <= rounds; round++) {
      recorder.beginRound()
      await mkdir(folder)
      const options = { image, folder, recorder, verify: round === 1, signal }
      await varveRound(options)
      await peersRound(options)
      await rm(folder, { recursive: true })
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  const summaries = summarise(recorder.samples)
  const { files, fileBytes, allocatedBytes } = image
  const all = {
    what: quick ? 'data-path-quick' : 'data-path',
    time,
    rounds,
    host,
    image: { size, files, fileBytes, allocatedBytes },
    summaries,
    ratios: ratiosOf(summaries),
    samples: recorder.samples,
  }
  console.log(resultsText(all))
  console.log(`Written to ${await writeResults(results, all)}.json and .md`)
}

const main = async (): Promise<number> => {
  const options = readOptions()
  if (options === null) {
    console.log(USAGE)
    return 0
  }
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interruption.abort())
  try {
    await bench(options, interruption.signal)
    return 0
  } catch (error) {
    if (interruption.signal.aborted) return 130
    console.error(error instanceof Error ? error.message : error)
    return 1
  }
}

process.exitCode = await main()
