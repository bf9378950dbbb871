// What processes have used, read from /proc: CPU time and the most memory.
import { readFile, writeFile } from 'node:fs/promises'

/** Clock ticks a second in /proc; Linux shows 100 to programs whatever the kernel's own rate is. */
const TICKS_PER_SECOND = 100

// Positions in /proc/PID/stat after the command's name in parentheses.
const USER_TICKS = 11
const SYSTEM_TICKS = 12
const CHILDREN_USER_TICKS = 13
const CHILDREN_SYSTEM_TICKS = 14

// Positions in the first line of /proc/stat after "cpu".
const IDLE_TICKS = 3
const IO_WAIT_TICKS = 4
const STEAL_TICKS = 7

/** CPU time in seconds. */
export interface CpuTime {
  readonly total: number
  /** The part spent in the kernel. */
  readonly system: number
}

/** CPU times of a process: its own, and of children that have ended and were waited for, their children included. */
export interface CpuTimes {
  readonly own: CpuTime
  readonly children: CpuTime
}

export const plus = (a: CpuTime, b: CpuTime): CpuTime => ({ total: a.total + b.total, system: a.system + b.system })

export const minus = (a: CpuTime, b: CpuTime): CpuTime => ({ total: a.total - b.total, system: a.system - b.system })

const NO_TIME: CpuTime = { total: 0, system: 0 }

/** CPU times of a process so far, to 10 ms; zero when there is no such process. */
export const cpuTimes = async (pid: number | 'self'): Promise<CpuTimes> => {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  if (text === null) return { own: NO_TIME, children: NO_TIME }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const seconds = (position: number): number => Number(fields[position]) / TICKS_PER_SECOND
  const time = (user: number, system: number): CpuTime => ({
    total: seconds(user) + seconds(system),
    system: seconds(system),
  })
  return { own: time(USER_TICKS, SYSTEM_TICKS), children: time(CHILDREN_USER_TICKS, CHILDREN_SYSTEM_TICKS) }
}

/** CPU time that all processes of this machine and the interrupts took since it started; stolen time counts. */
export const machineCpuSeconds = async (): Promise<number> => {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const fields = line
    .trim()
    .split(/\s+/)
    .slice(1, STEAL_TICKS + 2)
  const busy = fields.filter((_, position) => position !== IDLE_TICKS && position !== IO_WAIT_TICKS)
  return busy.reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND
}

/** Resident memory of a process in bytes, shared pages included. */
export interface ProcessMemory {
  readonly nowBytes: number
  /** The most since its start or the last `resetPeak`. */
  readonly peakBytes: number
}

/** Null once the process has ended. */
export const processMemory = async (pid: number): Promise<ProcessMemory | null> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const [now, peak] = ['VmRSS', 'VmHWM'].map((name) => new RegExp(`^${name}:\\s+(\\d+) kB$`, 'mu').exec(status)?.[1])
  return now === undefined || peak === undefined
    ? null
    : { nowBytes: Number(now) * 1024, peakBytes: Number(peak) * 1024 }
}

/** The most memory that a process had since its start or the last `resetPeak`, in bytes; null once it has ended. */
export const peakBytes = async (pid: number): Promise<number | null> => (await processMemory(pid))?.peakBytes ?? null

/** Lets the peak of a process start again at what it has now. */
export const resetPeak = async (pid: number): Promise<void> => {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}

/** The children of a process and theirs. */
export const descendants = async (pid: number): Promise<number[]> => {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const children = text.split(' ').filter(Boolean).map(Number)
  const deeper = await Promise.all(children.map(descendants))
  return [...children, ...deeper.flat()]
}
