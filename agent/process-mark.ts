// Identifies a process so that it can be recognised later: a pid alone may belong to another process by then.

import { readFileSync } from 'node:fs'
import * as v from 'valibot'

/** A process of this host: its pid, its start in clock ticks after boot, and which boot that was. */
export const processMarkSchema = v.object({
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  startTicks: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
  boot: v.pipe(v.string(), v.maxLength(64)),
})
export type ProcessMark = Readonly<v.InferOutput<typeof processMarkSchema>>

/** `gone` also means that the pid is now another process, or a zombie. */
export type ProcessState = 'running' | 'stopped' | 'gone'

const STATE_FIELD = 0
const START_FIELD = 19

/** Fields of /proc/PID/stat after the name, which may hold anything; null when there is no such process. */
const statFields = (pid: number): readonly string[] | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

const bootId = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

/** The mark of a running process, this one by default; null when there is none. */
export const markProcess = (pid: number = process.pid): ProcessMark | null => {
  const startTicks = statFields(pid)?.[START_FIELD]
  return startTicks === undefined ? null : { pid, startTicks, boot: bootId() }
}

export const processState = ({ pid, startTicks, boot }: ProcessMark): ProcessState => {
  const fields = statFields(pid)
  if (fields === null || fields[START_FIELD] !== startTicks || boot !== bootId()) return 'gone'
  const state = fields[STATE_FIELD] ?? ''
  if ('ZXx'.includes(state)) return 'gone'
  return 'Tt'.includes(state) ? 'stopped' : 'running'
}

/** Kills the process with SIGKILL, which also ends a stopped one; false when it was gone or may not be killed. */
export const endProcess = (mark: ProcessMark): boolean => {
  if (processState(mark) === 'gone') return false
  try {
    return process.kill(mark.pid, 'SIGKILL')
  } catch {
    return false
  }
}
