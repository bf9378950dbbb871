// How the demonstration tells a person what happened, and the figures that it gives to a program.
import type { BackupResult } from './commands.ts'

/** The figures of one restore point. */
export interface PointFigures {
  readonly id: string
  readonly time: string
  readonly kind: 'full' | 'incremental'
  readonly reason: string
  readonly consistency: string
  readonly bytesRead: number
  readonly bytesSent: number
  readonly bytesStored: number
  readonly seconds: number
  readonly disks: BackupResult['disks']
  restoreSeconds: number
  filesChecked: number
  filesGone: number
}

/** The last line of `--json`. */
export interface Figures {
  ok: boolean
  error?: string
  seconds: number
  guest: { cached: boolean; bootSeconds: number; reports: number }
  points: PointFigures[]
  selfCheck: { ok: number; bad: number }
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB'] as const
const UNIT_STEP = 1024

/** A number of bytes for people: 1.5 MiB. */
export const bytesText = (bytes: number): string => {
  let value = bytes
  let unit = 0
  while (value >= UNIT_STEP && unit < UNITS.length - 1) {
    value /= UNIT_STEP
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`
}

export const secondsText = (seconds: number): string => `${seconds.toFixed(1)} s`

/** One backup in one line. */
export const backupText = (result: BackupResult): string => {
  const dirty = result.disks.reduce((sum, disk) => sum + disk.changedBytes, 0)
  const why = result.kind === 'full' ? `full (${result.reason})` : `incremental, ${bytesText(dirty)} written or trimmed`
  const moved = `read ${bytesText(result.bytesRead)}, sent ${bytesText(result.bytesSent)}`
  return `${why}, ${result.consistency}: ${moved}, stored ${bytesText(result.bytesStored)} in ${secondsText(result.seconds)}`
}

/** Prints steps with the time since the start in front. */
export class Teller {
  readonly #startedMs = performance.now()

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000
  }

  say(text: string): void {
    console.log(`${this.seconds.toFixed(1).padStart(6)} s  ${text}`)
  }
}
