// How a machine's state looks.
import type { MachineState } from '../../../../protocol/coverage.ts'
import type { Tone } from '../../parts/basics.tsx'

export const TONES: Readonly<Record<MachineState, Tone>> = {
  fresh: 'good',
  unverified: 'warn',
  late: 'bad',
  failing: 'bad',
  never: 'bad',
  uncovered: 'bad',
  orphaned: 'bad',
  archived: 'quiet',
  excluded: 'quiet',
}
