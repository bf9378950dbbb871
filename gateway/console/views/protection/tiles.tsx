// The verdict in one sentence, and the tiles that count machines and narrow the list to them.
import { STATES_WORST_FIRST, UNPROTECTED, type MachineState, type StateCounts } from '../../../../protocol/coverage.ts'
import { filter } from '../../frame/router.ts'
import { Mark, type Tone } from '../../parts/basics.tsx'
import { countText } from '../../parts/format.ts'
import { tallyOf, type StateFilter } from '../../stores/coverage.ts'
import { protection as texts } from '../../texts/protection.ts'
import { TONES } from './tones.ts'

export const Verdict = ({ counts }: { counts: StateCounts }) => {
  const { expected, unprotected } = tallyOf(counts)
  const tone: Tone = unprotected > 0 ? 'bad' : expected === 0 ? 'warn' : 'good'
  const { verdict } = texts
  return (
    <p class="verdict" role="status">
      <Mark tone={tone}>
        {unprotected > 0 ? verdict.bad(unprotected, expected) : expected === 0 ? verdict.none : verdict.good(expected)}
      </Mark>
    </p>
  )
}

interface TileProps {
  readonly count: number
  readonly name: string
  readonly tone: Tone | null
  readonly state: StateFilter | null
  readonly chosen: StateFilter | null
}

/** Chosen again, it shows all that are expected. */
const Tile = ({ count, name, tone, state, chosen }: TileProps) => (
  <button
    class="tile"
    type="button"
    aria-pressed={chosen === state}
    onClick={() => filter({ state: chosen === state ? null : state })}
  >
    <strong>{countText(count)}</strong>
    {tone === null ? <span>{name}</span> : <Mark tone={tone}>{name}</Mark>}
  </button>
)

const BAD: ReadonlySet<MachineState> = new Set(UNPROTECTED)

const APART: readonly MachineState[] = ['excluded', 'archived']

export const Tiles = ({ counts, chosen }: { counts: StateCounts; chosen: StateFilter | null }) => {
  const { expected, unprotected } = tallyOf(counts)
  const stateTile = (state: MachineState) => (
    <Tile
      key={state}
      count={counts[state]}
      name={texts.states[state]}
      // what is not there is no alarm
      tone={counts[state] === 0 ? 'quiet' : TONES[state]}
      state={state}
      chosen={chosen}
    />
  )
  const isShown = (state: MachineState): boolean => counts[state] > 0 || chosen === state
  const apart = APART.filter(isShown)
  return (
    <div class="groups">
      <div class="tiles" role="group" aria-label={texts.filters}>
        <Tile count={expected} name={texts.expected} tone={null} state={null} chosen={chosen} />
        <Tile
          count={unprotected}
          name={texts.unprotected}
          tone={unprotected === 0 ? 'quiet' : 'bad'}
          state="unprotected"
          chosen={chosen}
        />
        {STATES_WORST_FIRST.filter((state) => BAD.has(state) && isShown(state)).map(stateTile)}
        {isShown('unverified') ? stateTile('unverified') : null}
        {stateTile('fresh')}
      </div>
      {apart.length === 0 ? null : (
        <div class="tiles apart" role="group" aria-label={texts.apart}>
          {apart.map(stateTile)}
        </div>
      )}
    </div>
  )
}
