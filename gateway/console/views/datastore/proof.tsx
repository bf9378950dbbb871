// How long ago what is stored was shown to be good, machine by machine.
import type { StoreProof } from '../../../../protocol/forecast.ts'
import { link, nowMs } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Ago, Bar, ErrorNote, Loading, Mark, type Tone } from '../../parts/basics.tsx'
import { agoText, countText, DAY_MS } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { proofOf } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'

const PROOF = proofOf(link)

/** Ages at which somebody should look, in days. */
const WARN_DAYS = 35
const BAD_DAYS = 95

type Machine = StoreProof['machines'][number]

const toneOf = (timeMs: number): Tone => {
  const days = (nowMs.value - timeMs) / DAY_MS
  if (days > BAD_DAYS) return 'bad'
  return days > WARN_DAYS ? 'warn' : 'quiet'
}

const columnsOf = (oldestMs: number): Column<Machine>[] => [
  {
    name: 'machine',
    title: texts.proof.columns.machine,
    cell: ({ machine }) => <a href={to('machine', [machine])}>{machine}</a>,
  },
  {
    name: 'age',
    title: texts.proof.columns.age,
    cell: ({ oldestMs: timeMs }) => (
      <Mark tone={toneOf(timeMs)}>
        <Ago timeMs={timeMs} />
      </Mark>
    ),
  },
  {
    name: 'bar',
    title: texts.proof.columns.bar,
    isExtra: true,
    cell: ({ oldestMs: timeMs }) => (
      <Bar
        share={(nowMs.value - timeMs) / Math.max(DAY_MS, nowMs.value - oldestMs)}
        tone={toneOf(timeMs)}
        label={texts.proof.age(agoText(timeMs, nowMs.value))}
      />
    ),
  },
  {
    name: 'points',
    title: texts.proof.columns.points,
    isNumber: true,
    cell: ({ points }) => countText(points),
  },
]

export const Proofs = () => {
  const proof = useWatched(PROOF)
  const found = proof.value.value
  const error = proof.error.value
  return (
    <section class="panel" aria-labelledby="proof-title">
      <h2 id="proof-title">{texts.proof.title}</h2>
      {error === null ? null : <ErrorNote error={error} onRetry={() => void proof.refresh()} />}
      {found === null ? error === null ? <Loading rows={4} /> : null : null}
      {found === null ? null : found.machineCount === 0 ? (
        <p>{texts.proof.none}</p>
      ) : (
        <>
          <dl class="figures-row">
            <div>
              <dt>{texts.proof.newest}</dt>
              <dd>
                <strong>
                  <Ago timeMs={found.verifiedMs} />
                </strong>
              </dd>
            </div>
            {found.oldestMs === null ? null : (
              <div>
                <dt>{texts.proof.oldest}</dt>
                <dd>
                  <strong>
                    <Ago timeMs={found.oldestMs} />
                  </strong>
                </dd>
              </div>
            )}
            <div>
              <dt>{texts.proof.unverified}</dt>
              <dd>
                <strong>
                  <Mark tone={found.unverified === 0 ? 'good' : 'quiet'}>{countText(found.unverified)}</Mark>
                </strong>
              </dd>
            </div>
          </dl>
          <p class="quiet">{texts.proof.says}</p>
          <Table
            caption={texts.proof.caption}
            rows={found.machines}
            columns={columnsOf(found.machines[0]?.oldestMs ?? 0)}
            keyOf={({ machine }) => machine}
          />
          {found.machineCount > found.machines.length ? (
            <p class="quiet">{texts.proof.more(countText(found.machines.length), countText(found.machineCount))}</p>
          ) : null}
        </>
      )}
    </section>
  )
}
