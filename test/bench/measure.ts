// Times one command from its start until what it wrote is on the disk, with the CPU time and memory of every process that
// has a part in it.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  cpuTimes,
  descendants,
  machineCpuSeconds,
  minus,
  peakBytes,
  plus,
  resetPeak,
  type CpuTime,
} from './process-use.ts'

/** Pause between two looks at the memory of a process that may end, in milliseconds. */
const LOOK_INTERVAL_MS = 25

/** Longest output that is kept of a command, in characters. */
const OUTPUT_CHARS_MAX = 1024 * 1024

/** A process that runs before, during and after the command. */
export interface Watched {
  readonly name: string
  readonly pid: number
}

export interface Command {
  /** What the table calls its process. */
  readonly name: string
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface MeasureOptions {
  /** The file system of this folder is synced within the time. */
  readonly syncFolder: string
  readonly watched?: readonly Watched[]
  /** Ends the command. */
  readonly signal: AbortSignal
}

export interface ProcessUse {
  readonly name: string
  /** To 10 ms; children that ended are in it. */
  readonly cpuSeconds: number
  /** The part of it spent in the kernel. */
  readonly systemCpuSeconds: number
  /** Resident memory, shared pages included; helper processes of its own are in it. */
  readonly peakBytes: number
}

export interface Measurement {
  readonly seconds: number
  readonly processes: readonly ProcessUse[]
  /** CPU time that anything else on the machine took meanwhile: the kernel's own threads, and whatever disturbed. */
  readonly otherCpuSeconds: number
  /** Standard output. */
  readonly output: string
}

const collect = (child: ChildProcess, stream: 'stdout' | 'stderr'): (() => string) => {
  let text = ''
  child[stream]?.setEncoding('utf8').on('data', (part: string) => (text = (text + part).slice(-OUTPUT_CHARS_MAX)))
  return () => text
}

/** Runs a command to its end; throws with its error output when it fails. */
const runToEnd = async (command: Command, signal: AbortSignal, onStart: (pid: number) => void): Promise<string> => {
  const { program, args, env, cwd } = command
  const child = spawn(program, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    signal,
  })
  const output = collect(child, 'stdout')
  const errors = collect(child, 'stderr')
  const closed = once(child, 'close')
  if (child.pid !== undefined) onStart(child.pid)
  const [code, by] = await closed
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code ?? by}: ${errors().trim()}`)
  return output()
}

/** Looks at the memory of processes until it is disposed of. */
class PeakWatch implements AsyncDisposable {
  readonly #roots = new Map<string, number>()
  readonly #peaks = new Map<string, number>()
  #over = false
  #looking: Promise<void> | null = null

  add({ name, pid }: Watched): void {
    this.#roots.set(name, pid)
    this.#looking ??= this.#look()
  }

  peak(name: string): number {
    return this.#peaks.get(name) ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    await this.#looking
  }

  async #look(): Promise<void> {
    for (;;) {
      const last = this.#over
      for (const [name, pid] of this.#roots) {
        const family = await Promise.all([pid, ...(await descendants(pid))].map(peakBytes))
        const sum = family.reduce((sum: number, bytes) => sum + (bytes ?? 0), 0)
        this.#peaks.set(name, Math.max(this.peak(name), sum))
      }
      if (last) return
      await new Promise((resolve) => void setTimeout(resolve, LOOK_INTERVAL_MS))
    }
  }
}

const familyTime = async (pid: number): Promise<CpuTime> => {
  const { own, children } = await cpuTimes(pid)
  return plus(own, children)
}

interface Readings {
  readonly watched: readonly CpuTime[]
  readonly own: CpuTime
  readonly commands: CpuTime
  readonly machineSeconds: number
}

const read = async (watched: readonly Watched[]): Promise<Readings> => {
  // Commands are waited for one by one, so what our ended children took between two readings is the command's.
  const { own, children } = await cpuTimes('self')
  return {
    watched: await Promise.all(watched.map(({ pid }) => familyTime(pid))),
    own,
    commands: children,
    machineSeconds: await machineCpuSeconds(),
  }
}

const roundTo = (value: number, digits: number): number => Number(value.toFixed(digits))

/** Measures one command; nothing else may be started by this process meanwhile. */
export const measure = async (command: Command, options: MeasureOptions): Promise<Measurement> => {
  const { syncFolder, watched = [], signal } = options
  const sync: Command = { name: 'sync', program: 'sync', args: ['-f', syncFolder] }
  await runToEnd(sync, signal, () => undefined)
  await Promise.all(watched.map(({ pid }) => resetPeak(pid)))
  const peaks = new PeakWatch()
  for (const one of watched) peaks.add(one)
  const before = await read(watched)
  const startedMs = performance.now()
  let output = ''
  let seconds = 0
  try {
    output = await runToEnd(command, signal, (pid) => peaks.add({ name: command.name, pid }))
    await runToEnd(sync, signal, () => undefined)
    seconds = (performance.now() - startedMs) / 1000
  } finally {
    await peaks[Symbol.asyncDispose]()
  }
  const after = await read(watched)
  const use = (name: string, { total, system }: CpuTime): ProcessUse => ({
    name,
    cpuSeconds: roundTo(total, 2),
    systemCpuSeconds: roundTo(system, 2),
    peakBytes: peaks.peak(name),
  })
  const processes = [
    use(command.name, minus(after.commands, before.commands)),
    ...watched.map(({ name }, index) => use(name, minus(after.watched[index]!, before.watched[index]!))),
  ]
  const ours = processes.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, minus(after.own, before.own).total)
  const other = Math.max(0, after.machineSeconds - before.machineSeconds - ours)
  return { seconds: roundTo(seconds, 3), processes, otherCpuSeconds: roundTo(other, 2), output }
}
