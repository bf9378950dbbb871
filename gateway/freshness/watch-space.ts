// Who notices that room runs out: tenants' quotas, and the disk's reserve. Pure.
import { sizeText } from '../../protocol/host/size.ts'
import { daysText, stepOf, type Before, type Step, type Verdict } from './watch-verdict.ts'

/** A quota or a disk is told to run full so many days before. */
export const FULL_DAYS = 14

/** Then it is urgent. */
export const FULL_DAYS_URGENT = 3

/** A forecast is good again only when it is so much further away than what it was told at. */
const DAYS_SLACK = 1.5

/** Used bytes are below a limit again at this part of it. */
const QUOTA_SLACK = 0.97

/** Free bytes are above the reserve again at so many times it. */
const RESERVE_SLACK = 1.1

const DAYS_STEPS: readonly Step<'soon' | 'urgent'>[] = [
  { below: FULL_DAYS, value: 'soon' },
  { below: FULL_DAYS_URGENT, value: 'urgent' },
]

/** A tenant against its quota; bytes. */
export interface QuotaSeen {
  readonly tenant: string
  readonly name: string
  readonly usedBytes: number
  readonly softBytes: number | null
  readonly hardBytes: number | null
  /** Whether an upload was refused for it within the last minutes. */
  readonly refused: boolean
  /** Until the hard quota, or without one the soft one, is used up; null where that is not foreseen. */
  readonly daysLeft: number | null
}

const over = (usedBytes: number, limitBytes: number, held: boolean): boolean =>
  usedBytes >= (held ? limitBytes * QUOTA_SLACK : limitBytes)

const softOf = (seen: QuotaSeen, before: Before): Verdict => {
  const { tenant, name, usedBytes, softBytes, hardBytes } = seen
  const subject = { kind: 'quota.soft', tenant, key: 'quota.soft', machine: null } as const
  const holds = softBytes !== null && over(usedBytes, softBytes, before(tenant, subject.key) !== null)
  const text =
    `tenant ${name} uses ${sizeText(usedBytes)}, more than its soft quota of ${sizeText(softBytes ?? 0)}: remove restore points ` +
    `and collect (varve-gateway prune, varve-gateway gc --tenant ${name}), or raise it (varve-gateway tenant quota ${name} --soft SIZE)`
  const data = { usedBytes, softBytes, hardBytes }
  return {
    ...subject,
    holding: holds ? { severity: 'warning', value: 'over', text, data } : null,
    good: `tenant ${name} is below its soft quota again, with ${sizeText(usedBytes)}`,
  }
}

const hardOf = (seen: QuotaSeen, before: Before): Verdict => {
  const { tenant, name, usedBytes, softBytes, hardBytes, refused } = seen
  const subject = { kind: 'quota.hard', tenant, key: 'quota.hard', machine: null } as const
  const held = before(tenant, subject.key) !== null
  const holds = hardBytes !== null && (refused || over(usedBytes, hardBytes, held))
  const text =
    `tenant ${name} has used up its quota of ${sizeText(hardBytes ?? 0)}, and its backups fail with QUOTA_EXCEEDED: remove restore ` +
    `points and collect (varve-gateway prune, varve-gateway gc --tenant ${name}), or raise it (varve-gateway tenant quota ${name} ` +
    '--hard SIZE)'
  const data = { usedBytes, softBytes, hardBytes }
  return {
    ...subject,
    holding: holds ? { severity: 'error', value: 'full', text, data } : null,
    good: `tenant ${name} has room again: it uses ${sizeText(usedBytes)}, and its backups go on`,
  }
}

const quotaForecastOf = (seen: QuotaSeen, before: Before): Verdict => {
  const { tenant, name, usedBytes, softBytes, hardBytes, daysLeft } = seen
  const subject = { kind: 'quota.forecast', tenant, key: 'quota.forecast', machine: null } as const
  const full = hardBytes !== null && usedBytes >= hardBytes
  const limitBytes = hardBytes ?? softBytes
  // what is full is no forecast any more: the other conditions say it
  const asked = limitBytes === null || full ? null : daysLeft
  const step =
    asked === null ? null : stepOf(asked, DAYS_STEPS, { before: before(tenant, subject.key), slack: DAYS_SLACK })
  const text =
    `tenant ${name} grows so that its quota of ${sizeText(limitBytes ?? 0)} is used up in ${daysText(asked ?? 0)}: keep fewer ` +
    `restore points (varve-gateway plan list --tenant ${name}), or raise it (varve-gateway tenant quota ${name} --hard SIZE)`
  const severity = step?.value === 'urgent' ? 'error' : 'warning'
  const data = { usedBytes, softBytes, hardBytes, daysLeft: asked }
  return {
    ...subject,
    holding: step === null ? null : { severity, value: step.value, text, data },
    good: full
      ? `the quota of tenant ${name} is used up, which is no forecast any more`
      : `tenant ${name} has room for more than ${FULL_DAYS} days again`,
  }
}

/** `quota.soft`, `quota.hard` and `quota.forecast` of tenants. */
export const quotaVerdicts = (seen: readonly QuotaSeen[], before: Before): Verdict[] =>
  seen.flatMap((one) => [softOf(one, before), hardOf(one, before), quotaForecastOf(one, before)])

/** The disk of the gateway with the least room; bytes. */
export interface DiskSeen {
  readonly freeBytes: number
  /** What uploads leave free; 0 where nothing is. */
  readonly reserveBytes: number
  /** Until the reserve is reached; null where that is not foreseen. */
  readonly daysLeft: number | null
}

/** `disk.reserve` of the platform: below the reserve, or soon so. */
export const diskVerdict = ({ freeBytes, reserveBytes, daysLeft }: DiskSeen, before: Before): Verdict => {
  const subject = { kind: 'disk.reserve', tenant: null, key: 'disk.reserve', machine: null } as const
  const value = before(null, subject.key)
  const below = freeBytes < reserveBytes * (value === 'below' ? RESERVE_SLACK : 1)
  const days = value === 'below' ? 'urgent' : value
  const step = daysLeft === null ? null : stepOf(daysLeft, DAYS_STEPS, { before: days, slack: DAYS_SLACK })
  const data = { freeBytes, reserveBytes, daysLeft }
  const room = 'make room (varve-gateway prune, varve-gateway gc) or give it a larger disk'
  const good = `the disk of the gateway has room again: ${sizeText(freeBytes)} free`
  if (below) {
    const text =
      `the disk of the gateway has ${sizeText(freeBytes)} free, and below its reserve of ${sizeText(reserveBytes)} backups fail ` +
      `with STORE_FULL: ${room}`
    return { ...subject, holding: { severity: 'error', value: 'below', text, data }, good }
  }
  if (step === null) return { ...subject, holding: null, good }
  const text =
    `the disk of the gateway has ${sizeText(freeBytes)} free and reaches its reserve of ${sizeText(reserveBytes)} in ` +
    `${daysText(daysLeft ?? 0)} as it grows now: ${room}`
  const severity = step.value === 'urgent' ? 'error' : 'warning'
  return { ...subject, holding: { severity, value: step.value, text, data }, good }
}
