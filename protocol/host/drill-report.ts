// Drills for people: a word of the newest one in a table, and what one found.
import type { Drill } from '../drills.ts'
import type { PointDrill } from '../schemas.ts'
import { utcText } from './instant.ts'
import { sizeText } from './size.ts'

/** Such as `passed 2026-11-28 02:14`; `-` for none. */
export const drillText = (drill: PointDrill | null): string =>
  drill === null ? '-' : `${drill.verdict} ${utcText(drill.addedMs)}`

const seconds = (ms: number | null): string => (ms === null ? '-' : `${(ms / 1000).toFixed(1)} s`)

/** What a drill found, a line each. */
export const drillLines = (drill: Drill): string[] => {
  const { verdict, machine, timeMs, reason, check, host, startedMs, accelerator, memoryBytes, cpus } = drill
  const at = new Date(timeMs).toISOString()
  return [
    `${machine} at ${at} ${verdict === 'passed' ? 'boots' : 'did not prove that it boots'}: ${reason}.`,
    `  on ${host} at ${utcText(startedMs)} UTC, by ${drill.by}; check ${check}`,
    `  firmware after ${seconds(drill.firmwareMs)}, evidence after ${seconds(drill.evidenceMs)}, all of it ${seconds(drill.durationMs)}`,
    `  ${accelerator}, ${sizeText(memoryBytes)} of memory, ${cpus} ${cpus === 1 ? 'processor' : 'processors'}; ${sizeText(drill.bytesReceived)} received, ${sizeText(drill.bytesWritten)} written`,
    ...drill.remarks.map((remark) => `  ${remark}`),
  ]
}
