// The view Datastore: what it takes, how it grows and until when that fits, what it is made of, and whether all of it is whole.
import type { StoreGrowth } from '../../../../protocol/forecast.ts'
import { link } from '../../frame/console.ts'
import { AsOf, ErrorNote, Loading, Mark, type Tone } from '../../parts/basics.tsx'
import { bytesText, percentText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { growthOf, usageWork } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'
import { Collect } from './collect.tsx'
import { Damaged } from './damage.tsx'
import { GrowthPicture } from './growth.tsx'
import { Parts } from './parts.tsx'
import { Proofs } from './proof.tsx'
import { Tenants } from './tenants.tsx'

const GROWTH = growthOf(link)
const USAGE = usageWork(link)

/** Days left from which nobody needs to do anything. */
const DAYS_GOOD = 30
const DAYS_WARN = 7

/** What is not known is not good. */
const toneOf = ({ daysLeft: days, reason }: Pick<Standing, 'daysLeft' | 'reason'>): Tone => {
  if (reason === 'history' || reason === 'limit') return 'quiet'
  if (days === null || days >= DAYS_GOOD) return 'good'
  return days >= DAYS_WARN ? 'warn' : 'bad'
}

/** What is used against its limit, in one shape for tenants and the disk. */
interface Standing {
  readonly usedBytes: number
  readonly limitBytes: number | null
  readonly daysLeft: number | null
  readonly bytesPerDay: number | null
  readonly reason: keyof typeof texts.why | null
}

const standingOf = ({ quota, disk }: StoreGrowth): Standing => {
  if (quota !== null) {
    const { usedBytes, softBytes, hardBytes, soft, hard } = quota
    return { usedBytes, limitBytes: hardBytes ?? softBytes, ...(hardBytes === null ? soft : hard) }
  }
  const { totalBytes, freeBytes, reserveBytes, daysLeft, bytesPerDay, reason } = disk!
  return { usedBytes: totalBytes - freeBytes, limitBytes: totalBytes - reserveBytes, daysLeft, bytesPerDay, reason }
}

const Tiles = ({ standing, isTenant }: { standing: Standing; isTenant: boolean }) => {
  const { usedBytes, limitBytes, daysLeft, bytesPerDay, reason } = standing
  const state = USAGE.state.value
  const ratios = state.kind === 'done' && state.result.rows[0]!.points > 0 ? state.result : null
  return (
    <dl class="figures-row">
      <div>
        <dt>{isTenant ? texts.used : texts.disk.used}</dt>
        <dd>
          <strong>{bytesText(usedBytes)}</strong>
          <span class="quiet">
            {limitBytes === null
              ? texts.noQuota
              : texts.ofQuota(percentText(usedBytes / Math.max(1, limitBytes)), bytesText(limitBytes))}
          </span>
        </dd>
      </div>
      <div>
        <dt>{texts.full}</dt>
        <dd>
          <strong>
            <Mark tone={toneOf(standing)}>
              {daysLeft === null ? '–' : daysLeft === 0 ? texts.fullNow : texts.days(daysLeft)}
            </Mark>
          </strong>
          <span class="quiet">{reason === null ? null : texts.why[reason]}</span>
        </dd>
      </div>
      <div>
        <dt>{texts.perDay}</dt>
        <dd>
          <strong>
            {bytesPerDay === null ? '–' : `${bytesPerDay < 0 ? '−' : '+'}${bytesText(Math.abs(bytesPerDay))}`}
          </strong>
          <span class="quiet">{bytesPerDay === null ? texts.why.history : null}</span>
        </dd>
      </div>
      {ratios === null ? null : (
        <>
          <div>
            <dt>{texts.dedup}</dt>
            <dd>
              <strong>{texts.ratio(ratios.dedupRatio.toFixed(2))}</strong>
            </dd>
          </div>
          <div>
            <dt>{texts.compression}</dt>
            <dd>
              <strong>{texts.ratio(ratios.compressionRatio.toFixed(2))}</strong>
            </dd>
          </div>
        </>
      )}
    </dl>
  )
}

export const Datastore = () => {
  const growth = useWatched(GROWTH)
  const found = growth.value.value
  const error = growth.error.value
  if (found === null)
    return error === null ? <Loading rows={10} /> : <ErrorNote error={error} onRetry={() => void growth.refresh()} />
  const standing = standingOf(found)
  const limits = [found.quota?.softBytes, found.quota?.hardBytes, found.quota === null ? standing.limitBytes : null]
  const isTenant = found.quota !== null
  return (
    <div class="datastore">
      <h1>{isTenant ? texts.title : texts.disk.title}</h1>
      <AsOf asOfMs={growth.asOfMs.value} error={error} />
      <Tiles standing={standing} isTenant={isTenant} />
      {isTenant ? <Damaged /> : null}
      <GrowthPicture
        growth={found}
        asked={{
          samples: found.samples,
          today: found.today,
          usedBytes: standing.usedBytes,
          bytesPerDay: standing.bytesPerDay,
          limits: limits.filter((limit) => typeof limit === 'number'),
        }}
      />
      {isTenant ? (
        <>
          <Parts usage={USAGE} usedBytes={standing.usedBytes} />
          <Proofs />
          {link.may('store.collect') ? <Collect /> : null}
        </>
      ) : (
        <Tenants />
      )}
    </div>
  )
}
