// Targets of a restore that are neither a file nor a device that is there: standard output, an NBD export, a volume to be made.
import { VarveError } from '../../protocol/errors.ts'
import type { TargetFormat } from './format.ts'
import { isNbdUri } from './nbd-uri.ts'
import type { OpenedTarget } from './open-target.ts'
import type { RestoreNotes } from './restore-notes.ts'
import type { KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'
import { isVolume } from './volume-target.ts'

export interface OtherTargetOptions {
  readonly to: string
  readonly size: number
  readonly format: TargetFormat | null
  readonly force: boolean
  readonly machines: readonly KnownMachine[]
  readonly notes: RestoreNotes
  readonly signal: AbortSignal
}

/** Whether a target is standard output, where nothing else may be printed. */
export const isStdout = (to: string): boolean => to === '-'

/** Whether a target is no path. */
export const isOther = (to: string): boolean => isStdout(to) || isNbdUri(to) || isVolume(to)

/** Null for a path. TARGET_INVALID, TARGET_EXISTS, TOOL_MISSING. */
export const openOtherTarget = async (options: OtherTargetOptions): Promise<OpenedTarget | null> => {
  const { to, size, format, force, machines, notes, signal } = options
  const open = async (): Promise<Target | null> => {
    if (isStdout(to)) return (await import('./stdout-target.ts')).StdoutTarget.open()
    if (isNbdUri(to)) return await (await import('./nbd-target.ts')).NbdTarget.open(to, size, { force, signal })
    if (isVolume(to)) return await (await import('./volume-target.ts')).VolumeTarget.make(to, size, { machines, notes })
    return null
  }
  if (format === 'qcow2' && isOther(to))
    throw new VarveError('TARGET_INVALID', `${isStdout(to) ? 'standard output' : to} takes the raw format only`)
  const target = await open()
  return target === null ? null : { target, format: 'raw', remark: null, left: null }
}
