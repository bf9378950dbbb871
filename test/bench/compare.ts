// What it costs an increment that a sample of what did not change is compared with the restore point before.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run as runProgram } from '../rig/run.ts'
import { writeRandomly } from './guest-writes.ts'
import { measure, type Measurement } from './measure.ts'
import { randomBytesOf } from './random.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { Stand } from './stand.ts'
import { median } from './statistics.ts'

const MIB = 2 ** 20
const DISK_BYTES = 2048 * MIB

/** Data that lies on the disk from the start, in pieces of this length that lie evenly over it. */
const PIECE_BYTES = 4 * MIB
const PIECES = 128

const MAKE_TIMEOUT_MS = 300_000

/** Random writes of 4 KiB between two increments. */
const KINDS = [
  { title: 'nothing written', writes: 0, goal: null },
  { title: '1,000 writes', writes: 1000, goal: { atMost: 0.02 } },
  { title: '10,000 writes', writes: 10_000, goal: { atMost: 0.02 } },
] as const

const INCREMENTS = 15
const QUICK_INCREMENTS = 3

interface Sample {
  readonly seconds: number
  readonly compareSeconds: number
  readonly chunks: number
}

const makeDisk = async (folder: string): Promise<string> => {
  const file = path.join(folder, 'image.qcow2')
  const source = path.join(folder, 'piece')
  await runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(DISK_BYTES)])
  const commands: string[] = []
  for (let index = 0; index < PIECES; index++) {
    await writeFile(`${source}.${index}`, randomBytesOf(index, PIECE_BYTES))
    commands.push('-c', `write -q -s ${source}.${index} ${(index * DISK_BYTES) / PIECES} ${PIECE_BYTES}`)
  }
  await runProgram('qemu-io', ['-f', 'qcow2', ...commands, file], { timeoutMs: MAKE_TIMEOUT_MS })
  return file
}

/** The newest comparison that the agent's log tells of. */
const lastComparison = async (log: string): Promise<{ ms: number; chunks: number }> => {
  const line = (await readFile(log, 'utf8')).split('\n').findLast((one) => one.includes('compared what is said'))
  return JSON.parse(line ?? '{}') as { ms: number; chunks: number }
}

const increment = async (stand: Stand, context: ScenarioContext): Promise<Sample> => {
  const watched = [stand.agent, stand.gateway, stand.qemu]
  const { signal, folder } = context
  const { seconds }: Measurement = await measure(stand.backup(), { watched, syncFolder: folder, signal })
  const { ms, chunks } = await lastComparison(stand.agentLog)
  return { seconds, compareSeconds: ms / 1000, chunks }
}

const row = (title: string, samples: readonly Sample[]): string[] => {
  const of = (value: (sample: Sample) => number): number => median(samples.map(value))
  const milliseconds = (seconds: number): string => (seconds * 1000).toFixed(1)
  return [
    title,
    of(({ seconds }) => seconds).toFixed(3),
    milliseconds(of(({ compareSeconds }) => compareSeconds)),
    milliseconds(Math.max(...samples.map(({ compareSeconds }) => compareSeconds))),
    String(of(({ chunks }) => chunks)),
  ]
}

export const run = async (context: ScenarioContext): Promise<Report> => {
  const { folder, quick, signal, say } = context
  const qcow2 = await makeDisk(folder)
  const options = { folder: path.join(folder, 'stand'), qcow2, size: DISK_BYTES, logLevel: 'debug', signal } as const
  await using stand = await Stand.start(options)
  await measure(stand.backup(), { syncFolder: folder, signal })
  const results = new Map<string, Sample[]>(KINDS.map(({ title }) => [title, []]))
  let seed = 1
  for (let round = 0; round < (quick ? QUICK_INCREMENTS : INCREMENTS); round++)
    for (const { title, writes } of KINDS) {
      if (writes > 0) await writeRandomly(stand, DISK_BYTES, writes, seed++)
      const sample = await increment(stand, context)
      results.get(title)!.push(sample)
      say(`${sample.seconds.toFixed(2)} s, of which ${(sample.compareSeconds * 1000).toFixed(1)} ms compared: ${title}`)
    }
  const share = (samples: readonly Sample[]): number =>
    median(samples.map(({ seconds, compareSeconds }) => compareSeconds / seconds))
  return {
    tables: [
      {
        title: 'Increments of one disk, medians',
        heading: ['between two increments', 'seconds', 'compared, ms', 'at most, ms', 'chunks'],
        rows: KINDS.map(({ title }) => row(title, results.get(title)!)),
      },
    ],
    goals: KINDS.map(({ title, goal }) => judge(`comparison / increment, ${title}`, share(results.get(title)!), goal)),
    notes: [
      `A disk of ${DISK_BYTES / MIB} MiB with ${(PIECES * PIECE_BYTES) / MIB} MiB of random bytes. Seconds are those of the whole command;
the time of the comparison is what the agent's log tells: a connection to the export, the maps of the places that were drawn,
reading and hashing what did not change there, and the gateway's answer.`,
    ],
    details: Object.fromEntries(results),
  }
}
