// The next days as lanes, one a plan: how many machines start in each hour, and below how many backups run at once.
import type { PlanTimeline } from '../../../../protocol/timeline.ts'
import { nowMs, zone } from '../../frame/console.ts'
import { Mark } from '../../parts/basics.tsx'
import { countText, dayText, HOUR_MS, timeText } from '../../parts/format.ts'
import { atOnceOf, barsPath, LANE_HEIGHT, midnightsOf, nextOf, startsOf, type LanesTime } from '../../pictures/lanes.ts'
import { STEP_MS, type Lanes as LanesFound } from '../../stores/plans.ts'
import { plans as texts } from '../../texts/plans.ts'

const { lanes: words } = texts

const saysOf = (plan: PlanTimeline, bars: readonly number[]): string => {
  const { reason, machines, excluded } = plan
  const covered = [words.machines(machines), ...(excluded === 0 ? [] : [words.excluded(excluded)])].join(', ')
  const next = nextOf(plan, Math.max(nowMs.value, Date.now()))
  if (reason !== null) return `${covered}. ${reason}`
  if (next === undefined) return `${covered}. ${words.none}`
  return `${covered}. ${words.next(timeText(next.atMs, zone.value), words.machines(next.machines), countText(Math.max(...bars)))}`
}

interface BarsProps {
  readonly bars: readonly number[]
  readonly time: LanesTime
  readonly midnights: readonly number[]
  readonly label: string
  readonly kind: string
}

const Bars = ({ bars, time, midnights, label, kind }: BarsProps) => (
  <svg
    class={`bars ${kind}`}
    viewBox={`0 0 ${bars.length} ${LANE_HEIGHT}`}
    preserveAspectRatio="none"
    role="img"
    aria-label={label}
  >
    {midnights.map((at) => {
      const x = (at - time.fromMs) / time.barMs
      return <line key={at} class="midnight" x1={x} x2={x} y1={0} y2={LANE_HEIGHT} />
    })}
    <path d={barsPath(bars)} />
  </svg>
)

const Days = ({ time, midnights }: { time: LanesTime; midnights: readonly number[] }) => (
  <div class="lane days" aria-hidden="true">
    <span />
    <div class="places">
      {midnights.slice(0, -1).map((at, index) => (
        <span
          key={at}
          class={index % 2 === 1 ? 'extra' : undefined}
          style={{ left: `${((at - time.fromMs) / (time.untilMs - time.fromMs)) * 100}%` }}
        >
          {dayText(at, zone.value).slice(5)}
        </span>
      ))}
    </div>
  </div>
)

/** The same in words, for who cannot see and for who wants figures. */
const ByDay = ({ lanes }: { lanes: LanesFound }) => {
  const days = new Map<string, Map<string, number>>()
  for (const { plan, starts } of lanes.plans)
    for (const { atMs, machines } of starts) {
      const day = dayText(atMs, zone.value)
      const of = days.get(day) ?? new Map<string, number>()
      of.set(plan, (of.get(plan) ?? 0) + machines)
      days.set(day, of)
    }
  const named = lanes.plans.filter(({ starts }) => starts.length > 0).slice(0, 12)
  if (named.length === 0) return null
  return (
    <details>
      <summary>{words.table}</summary>
      <div class="by-day" role="region" tabIndex={0} aria-label={words.table}>
        <table>
          <thead>
            <tr>
              <th scope="col">{words.day}</th>
              {named.map(({ plan }) => (
                <th key={plan} scope="col" class="number">
                  {plan}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {[...days]
              .toSorted(([a], [b]) => (a < b ? -1 : 1))
              .map(([day, of]) => (
                <tr key={day}>
                  <th scope="row">{day}</th>
                  {named.map(({ plan }) => (
                    <td key={plan} class="number">
                      {countText(of.get(plan) ?? 0)}
                    </td>
                  ))}
                </tr>
              ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}

export const Lanes = ({ lanes }: { lanes: LanesFound }) => {
  const time = { fromMs: lanes.fromMs, untilMs: lanes.untilMs, stepMs: STEP_MS, barMs: HOUR_MS }
  const midnights = midnightsOf(time, zone.value)
  const atOnce = atOnceOf(lanes.plans, time)
  const most = words.most(countText(Math.max(0, ...atOnce)))
  return (
    <section class="panel lanes" aria-labelledby="lanes-title">
      <h2 id="lanes-title">{words.title}</h2>
      <p class="quiet">
        {words.says} {words.zone(zone.value)}
      </p>
      <Days time={time} midnights={midnights} />
      {lanes.plans.map((plan) => {
        const bars = startsOf(plan, time)
        const says = saysOf(plan, bars)
        return (
          <div key={plan.plan} class="lane">
            <div>
              <strong class="name">{plan.plan}</strong>
              <span class="quiet">{says}</span>
              {plan.untilMs < lanes.untilMs ? (
                <Mark tone="warn">{words.until(timeText(plan.untilMs, zone.value))}</Mark>
              ) : null}
            </div>
            <Bars bars={bars} time={time} midnights={midnights} label={words.label(plan.plan, says)} kind="starts" />
          </div>
        )
      })}
      <div class="lane">
        <div>
          <strong>{words.atOnce}</strong>
          <span class="quiet">{most}</span>
        </div>
        <Bars bars={atOnce} time={time} midnights={midnights} label={words.label(words.atOnce, most)} kind="running" />
      </div>
      <ByDay lanes={lanes} />
    </section>
  )
}
