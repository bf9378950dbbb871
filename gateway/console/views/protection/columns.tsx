// What the row of a machine shows: its state with the reason, age against target, the last backup and the next.
import type { Covered } from '../../../../protocol/coverage.ts'
import { nowMs, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Ago, Bar, Mark, type Tone } from '../../parts/basics.tsx'
import { agoText, bytesText, durationText, MINUTE_MS, plainText, timeText } from '../../parts/format.ts'
import type { Column } from '../../parts/table.tsx'
import { agePicture } from '../../pictures/age.ts'
import { protection as texts } from '../../texts/protection.ts'
import { TONES } from './tones.ts'

const Machine = ({ one: { machine, group, host, online } }: { one: Covered }) => (
  <>
    <a class="machine" href={to('machine', [machine])} title={machine}>
      {machine}
    </a>
    <span class="under" title={host}>
      {group === null ? host : `${group} · ${host}`}
      {online ? null : ` · ${texts.offline}`}
    </span>
  </>
)

/** Of these the reason stands out. */
const SEVERE: ReadonlySet<Tone> = new Set(['bad', 'warn'])

const State = ({ one: { state, reason } }: { one: Covered }) => (
  <>
    <Mark tone={TONES[state]}>
      <strong>{texts.states[state]}</strong>
    </Mark>
    <span class={`reason ${SEVERE.has(TONES[state]) ? '' : 'quiet'}`} title={plainText(reason)}>
      {plainText(reason)}
    </span>
  </>
)

const Age = ({ one }: { one: Covered }) => {
  const { lastPointMs, deadlineMs } = one
  const now = nowMs.value
  const picture = agePicture(one, now)
  if (picture === null)
    return (
      <>
        <span>{lastPointMs === null ? texts.age.none : texts.age.old(durationText(now - lastPointMs))}</span>
        {lastPointMs === null && deadlineMs !== null ? (
          <span class="under">{texts.age.firstDue(agoText(deadlineMs, now))}</span>
        ) : null}
      </>
    )
  const { ageMs, targetMs, share, tone } = picture
  const label = texts.age.label(durationText(ageMs), durationText(targetMs))
  return (
    <>
      <Bar share={share} tone={tone} label={label} />
      <span class="under" title={timeText(lastPointMs ?? 0, zone.value)}>
        {label}
      </span>
    </>
  )
}

const Last = ({ one: { last } }: { one: Covered }) => {
  if (last === null) return <span class="quiet">–</span>
  const { bytesRead, bytesSent, durationMs, kind, reason } = last
  return (
    <>
      <span title={texts.last.detail(bytesText(bytesRead), bytesText(bytesSent))}>
        {texts.last.size(bytesText(bytesRead), durationText(durationMs))}
      </span>
      <span class="under">{kind === 'full' ? texts.last.full(reason) : texts.last.increment}</span>
    </>
  )
}

const Next = ({ one: { nextMs, plan } }: { one: Covered }) => (
  <>
    {nextMs === null ? (
      <span class="quiet">{texts.next.none}</span>
    ) : nextMs - nowMs.value < MINUTE_MS ? (
      <span>{texts.next.now}</span>
    ) : (
      <Ago timeMs={nextMs} />
    )}
    <span class="under">{plan ?? texts.noPlan}</span>
  </>
)

const MACHINE: Column<Covered> = {
  name: 'machine',
  title: texts.columns.machine,
  cell: (one) => <Machine one={one} />,
}

export const EXPECTED_COLUMNS: readonly Column<Covered>[] = [
  MACHINE,
  { name: 'state', title: texts.columns.state, cell: (one) => <State one={one} /> },
  { name: 'age', title: texts.columns.age, cell: (one) => <Age one={one} /> },
  { name: 'last', title: texts.columns.last, isExtra: true, cell: (one) => <Last one={one} /> },
  { name: 'next', title: texts.columns.next, isExtra: true, cell: (one) => <Next one={one} /> },
]

/** Of machines that are left out on purpose: why, by whom and until when. */
export const EXCLUDED_COLUMNS: readonly Column<Covered>[] = [
  MACHINE,
  {
    name: 'state',
    title: texts.columns.reason,
    cell: ({ exclusion, reason }) => (
      <span class="reason" title={plainText(exclusion?.reason ?? reason)}>
        {plainText(exclusion?.reason ?? reason)}
      </span>
    ),
  },
  {
    name: 'age',
    title: texts.columns.until,
    cell: ({ exclusion }) =>
      exclusion === null || exclusion.untilMs === null ? texts.noEnd : <Ago timeMs={exclusion.untilMs} />,
  },
  { name: 'by', title: texts.columns.by, isExtra: true, cell: ({ exclusion }) => plainText(exclusion?.by ?? '') },
  { name: 'last', title: texts.columns.last, isExtra: true, cell: ({ lastPointMs }) => <Ago timeMs={lastPointMs} /> },
]
