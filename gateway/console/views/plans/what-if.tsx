// What other rules of retention would keep and remove of the points that are there, before anything is saved.
import { useSignal, type Signal } from '@preact/signals'
import { asVarveError, VarveError } from '../../../../protocol/errors.ts'
import { link, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Button, ErrorNote, Loading, Mark, type Tone } from '../../parts/basics.tsx'
import { countText, timeText } from '../../parts/format.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { whatIfOf, type Fate, type FatedMachine, type FatedPoint, type WhatIf } from '../../pictures/retention.ts'
import { whatIf, type TwoPrunes } from '../../stores/plans.ts'
import { plans as texts } from '../../texts/plans.ts'
import { points as words } from '../../texts/points.ts'
import { DraftError, keepOf, type Draft } from './draft.ts'

const { whatIf: says } = texts

/** Machines whose points are drawn. */
const STRIPS_MAX = 12

/** Units of a strip's picture. */
const WIDE = 1000
const HIGH = 24

const FATES: readonly Fate[] = ['goes', 'anyway', 'saved', 'stays']
const TONES: Readonly<Record<Fate, Tone>> = { goes: 'bad', anyway: 'warn', saved: 'busy', stays: 'good' }

/** A point as a mark: what stays is a bar of full height, what goes is low, so that colour is not alone. */
const markOf = ({ place, fate }: FatedPoint): string => {
  const x = Math.round(place * (WIDE - 6)) + 1
  const isLow = fate === 'goes' || fate === 'anyway'
  return isLow ? `M${x} ${HIGH}v-9h4v9z` : `M${x} ${HIGH}v-${HIGH}h4v${HIGH}z`
}

const Strip = ({ machine: { machine, points, counts } }: { machine: FatedMachine }) => (
  <li class="strip">
    <a href={to('machine', [machine])}>{machine}</a>
    <svg
      viewBox={`0 0 ${WIDE} ${HIGH}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={says.strip(machine, countText(counts.stays + counts.saved), countText(counts.goes + counts.anyway))}
    >
      {FATES.map((fate) => (
        <path
          key={fate}
          class={fate}
          d={points
            .filter((point) => point.fate === fate)
            .map(markOf)
            .join('')}
        />
      ))}
    </svg>
  </li>
)

type Row = FatedPoint & { readonly machine: string }

const COLUMNS: readonly Column<Row>[] = [
  {
    name: 'machine',
    title: says.columns.machine,
    cell: ({ machine, point }) => <a href={to('machine', [machine], { point })}>{machine}</a>,
  },
  { name: 'time', title: says.columns.time, cell: ({ timeMs }) => timeText(timeMs, zone.value) },
  {
    name: 'fate',
    title: says.columns.fate,
    cell: ({ fate }) => <Mark tone={TONES[fate]}>{says.fates[fate]}</Mark>,
  },
  {
    name: 'rule',
    title: says.columns.rule,
    isExtra: true,
    cell: ({ keptBy }) => keptBy.map((rule) => words.keeps[rule]).join(', '),
  },
]

const rowsOf = ({ machines }: WhatIf): Row[] =>
  machines
    .flatMap(({ machine, points }) => points.map((point) => ({ ...point, machine })))
    .toSorted((a, b) => FATES.indexOf(a.fate) - FATES.indexOf(b.fate) || b.timeMs - a.timeMs)

const Answer = ({ found }: { found: TwoPrunes }) => {
  const picture = whatIfOf(found.now, found.wanted)
  const { machines, counts, byRule, fromMs, untilMs } = picture
  if (found.pointCount === 0) return <p role="status">{says.none}</p>
  return (
    <div role="status">
      <ul class="fates">
        {FATES.filter((fate) => counts[fate] > 0).map((fate) => (
          <li key={fate}>
            <Mark tone={TONES[fate]}>{says.counts[fate](countText(counts[fate]))}</Mark>
          </li>
        ))}
      </ul>
      {found.pointCount > found.wanted.length ? (
        <p class="quiet">{says.cut(countText(found.wanted.length), countText(found.pointCount))}</p>
      ) : null}
      <p class="quiet">
        {says.byRule}: {byRule.map(([rule, count]) => `${words.keeps[rule]} ${countText(count)}`).join(' · ')}
      </p>
      <ul class="strips">
        {machines.slice(0, STRIPS_MAX).map((machine) => (
          <Strip key={machine.machine} machine={machine} />
        ))}
      </ul>
      <p class="ends quiet">
        <span>{timeText(fromMs, zone.value)}</span>
        <span>{timeText(untilMs, zone.value)}</span>
      </p>
      {machines.length > STRIPS_MAX ? <p class="quiet">{says.more(countText(machines.length - STRIPS_MAX))}</p> : null}
      <Table caption={says.title} rows={rowsOf(picture)} columns={COLUMNS} keyOf={({ point }) => point} />
    </div>
  )
}

type State =
  | { readonly kind: 'not asked' | 'asked' }
  | { readonly kind: 'known'; readonly found: TwoPrunes; readonly rules: string }
  | { readonly kind: 'failed'; readonly error: VarveError }

const rulesText = ({ keep, timeZone }: Draft): string => JSON.stringify([keep, timeZone])

export const WhatIfPanel = ({ plan, draft }: { plan: string; draft: Signal<Draft> }) => {
  const state = useSignal<State>({ kind: 'not asked' })
  const ask = async (): Promise<void> => {
    const { value } = draft
    state.value = { kind: 'asked' }
    try {
      const rules = { keep: keepOf(value), timeZone: value.timeZone.trim() }
      state.value = { kind: 'known', found: await whatIf(link, plan, rules), rules: rulesText(value) }
    } catch (thrown) {
      const error =
        thrown instanceof DraftError ? new VarveError('PARAMS_INVALID', thrown.message) : asVarveError(thrown)
      state.value = { kind: 'failed', error }
    }
  }
  const now = state.value
  return (
    <div class="what-if">
      <p>
        <Button onClick={() => void ask()}>{says.ask}</Button> <span class="quiet">{says.says}</span>
      </p>
      {now.kind === 'asked' ? <Loading rows={2} /> : null}
      {now.kind === 'failed' ? <ErrorNote error={now.error} /> : null}
      {now.kind === 'known' && now.rules !== rulesText(draft.value) ? (
        <p>
          <Mark tone="warn">{texts.edit.stale}</Mark>
        </p>
      ) : null}
      {now.kind === 'known' ? <Answer found={now.found} /> : null}
    </div>
  )
}
