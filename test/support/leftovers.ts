// What tests leave behind: processes and mounts that belong to a temporary folder, found by that folder alone, ended and removed.
import { readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from './run.ts'

/** How often ended processes are looked for until none is left, and how long in between, in milliseconds. */
const LOOKS_MAX = 500
const LOOK_INTERVAL_MS = 20

/** Tests open pipes under names that outlive nothing, so a removal that meets a file just made is only tried again. */
const REMOVALS_MAX = 10

/** A process, told apart from a later one of the same number by when it started. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks from the start of the machine to that of the process. */
  readonly startTicks: string
}

/** A process that was found and ended. */
export interface Leftover extends ProcessId {
  readonly command: string
  /** Its temporary folder. */
  readonly folder: string
}

const textOf = (pid: number, name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')

/** The process of that number now; null where there is none, or one that only waits to be collected. */
export const processOf = async (pid: number): Promise<ProcessId | null> => {
  // the name in parentheses may hold anything; the fields after it are numbers
  const stat = await textOf(pid, 'stat')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state = 'X', startTicks] = [fields[0], fields[19]]
  return startTicks === undefined || state === 'Z' || state === 'X' ? null : { pid, startTicks }
}

/** Whether just this process runs still. */
export const isRunning = async ({ pid, startTicks }: ProcessId): Promise<boolean> =>
  (await processOf(pid))?.startTicks === startTicks

const isBelow = (folder: string, file: string): boolean => file === folder || file.startsWith(`${folder}/`)

/**
 * Every process whose TMPDIR is the folder or lies in it: also those that detached and were given little of their parent's
 * environment.
 */
export const processesOf = async (folder: string): Promise<Leftover[]> => {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0 && pid !== process.pid)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const before = await processOf(pid)
      const environment = (await textOf(pid, 'environ')).split('\0')
      const place = environment.find((variable) => variable.startsWith('TMPDIR='))?.slice('TMPDIR='.length)
      if (before === null || place === undefined || !isBelow(folder, place)) return null
      const command = (await textOf(pid, 'cmdline')).replaceAll('\0', ' ').trim()
      return (await isRunning(before)) ? { ...before, command, folder: place } : null
    }),
  )
  return found.filter((one) => one !== null)
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended by itself
  }
}

/** Ends every process of the folder, also those that they start meanwhile; gives all that were ended. */
const endProcesses = async (folder: string): Promise<Leftover[]> => {
  const ended = new Map<string, Leftover>()
  for (let look = 0; look < LOOKS_MAX; look++) {
    const found = await processesOf(folder)
    if (found.length === 0) break
    for (const one of found) {
      ended.set(`${one.pid} ${one.startTicks}`, one)
      kill(one.pid)
    }
    await sleep(LOOK_INTERVAL_MS)
  }
  return [...ended.values()]
}

/** Mounts in the folder and on it, the innermost first. */
const mountsIn = async (folder: string): Promise<string[]> =>
  (await textOf(process.pid, 'mountinfo'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((place) => isBelow(folder, place))
    .reverse()

/** Block devices over files of the folder. */
const loopsOver = async (folder: string): Promise<string[]> => {
  const devices = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'))
  const files = await Promise.all(
    devices.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')),
  )
  return devices.filter((_, index) => isBelow(folder, files[index]!.trim())).map((name) => path.join('/dev', name))
}

/** Ends and removes everything of a temporary folder, and the folder; gives the processes that had to be ended. */
export const clearFolder = async (folder: string): Promise<Leftover[]> => {
  const ended = await endProcesses(folder)
  // those in use go with their last mount
  for (const device of await loopsOver(folder)) await run('losetup', ['--detach', device]).catch(() => {})
  for (const place of await mountsIn(folder)) await run('umount', ['--lazy', place]).catch(() => {})
  await rm(folder, { recursive: true, force: true, maxRetries: REMOVALS_MAX })
  return ended
}
