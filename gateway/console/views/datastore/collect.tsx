// What a collection would free, found out by a dry run when a person asks.
import type { CollectionReport } from '../../../../protocol/maintenance.ts'
import { link } from '../../frame/console.ts'
import { Ago, Bytes, Button, ErrorNote } from '../../parts/basics.tsx'
import { bytesText, countText } from '../../parts/format.ts'
import { collectWork } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'
import { WorkProgress } from './work.tsx'

const COLLECT = collectWork(link)

const WAITS = ['belowThresholdBytes', 'inUseBytes', 'damagedBytes', 'noRoomBytes'] as const

const Report = ({ report }: { report: CollectionReport }) => {
  const { packs, bytesBefore, bytesAfter, bytesRewritten, waiting } = report
  const waits = WAITS.filter((name) => waiting[name] > 0)
  return (
    <>
      <dl class="figures-row">
        <div>
          <dt>{texts.collect.packs}</dt>
          <dd>
            <strong>{countText(packs.before)}</strong>
            <Bytes bytes={bytesBefore} />
          </dd>
        </div>
        <div>
          <dt>{texts.collect.freed}</dt>
          <dd>
            <strong>{bytesText(Math.max(0, bytesBefore - bytesAfter))}</strong>
          </dd>
        </div>
        <div>
          <dt>{texts.collect.rewritten}</dt>
          <dd>
            <strong>{bytesText(bytesRewritten)}</strong>
          </dd>
        </div>
        <div>
          <dt>{texts.collect.removed}</dt>
          <dd>
            <strong>{countText(packs.removed)}</strong>
          </dd>
        </div>
      </dl>
      {waits.length === 0 ? null : (
        <>
          <h3>{texts.collect.waiting}</h3>
          <ul>
            {waits.map((name) => (
              <li key={name}>
                <Bytes bytes={waiting[name]} /> {texts.collect.waits[name]}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  )
}

export const Collect = () => {
  const state = COLLECT.state.value
  return (
    <section class="panel" aria-labelledby="collect-title">
      <h2 id="collect-title">{texts.collect.title}</h2>
      {state.kind === 'done' ? (
        <p>
          {texts.parts.asOf} <Ago timeMs={state.asOfMs} />
        </p>
      ) : null}
      {state.kind === 'running' ? (
        <WorkProgress progress={state.progress} onStop={() => COLLECT.cancel()} />
      ) : (
        <p>
          <Button onClick={() => void COLLECT.ask()}>{texts.collect.ask}</Button>{' '}
          <span class="quiet">{texts.collect.says}</span>
        </p>
      )}
      {state.kind === 'failed' ? <ErrorNote error={state.error} /> : null}
      {state.kind === 'done' ? <Report report={state.result} /> : null}
    </section>
  )
}
