// A long call with its progress on standard error, if that is a terminal.
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { Meter } from '../../protocol/host/meter.ts'
import { ProgressLine, type ProgressOutput } from '../../protocol/host/progress.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Remote } from './remote.ts'

/** Methods that report progress. */
type Long = 'store.collect' | 'store.verify' | 'store.check' | 'store.usage' | 'audit.check'

const WORDS: { readonly [P in MaintenanceProgress['phase']]: string } = {
  mark: 'walks trees',
  examine: 'looks at the index',
  sweep: 'takes dead records out',
  rewrite: 'rewrites packs',
  remove: 'removes packs',
  read: 'reads',
  attribute: 'finds what is damaged',
  scan: 'reads packs',
  audit: 'reads entries',
}

/** Phases that are counted in bytes; the others in items. */
const IN_BYTES: ReadonlySet<MaintenanceProgress['phase']> = new Set(['rewrite', 'read', 'scan'])

const MANY = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** One line about a piece of work whose phase this meter has followed. */
export const progressText = (what: string, { phase, done, total }: MaintenanceProgress, meter: Meter): string => {
  const amount = IN_BYTES.has(phase) ? sizeText : (value: number): string => MANY.format(value)
  return `${what}: ${WORDS[phase]}: ${meter.text(done, total, amount)}`
}

/** A meter for each phase of one piece of work. */
export class Meters {
  #phase: string | null = null
  #meter = new Meter()

  /** The meter of this phase, updated with its amount. */
  at({ phase, done }: MaintenanceProgress, atMs: number): Meter {
    if (phase !== this.#phase) this.#meter = new Meter()
    this.#phase = phase
    this.#meter.add(atMs, done)
    return this.#meter
  }
}

/** Calls a long method to its end and shows how far it is; whatever the call ends with, CANCELLED by the command's signal. */
export const callLong = async <N extends Long>(
  { peer, signal }: Remote,
  about: { readonly what: string; readonly name: N; readonly params: Params<N> },
  output: ProgressOutput = process.stderr,
): Promise<Result<N>> => {
  using line = new ProgressLine(output)
  const meters = new Meters()
  const call = peer.open(about.name, about.params, { signal })
  try {
    for await (const progress of call.messages as AsyncIterable<MaintenanceProgress>)
      line.show(progressText(about.what, progress, meters.at(progress, performance.now())))
  } catch {
    // the result has it too
  }
  return call.result
}
