// Who notices that restore points are not what they should be: damaged, not verified for long, or soon without a lock. Pure.
import { DAY_MS } from '../../protocol/host/duration.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { daysText, type Before, type Verdict } from './watch-verdict.ts'

/** The last lock of a machine is told so many days before it ends; where its plan locks for less, at half of that. */
export const LOCK_DAYS = 7

/** Verification may be so much later than the plan says, as it is spread: a fifth of its age, and at least so many days. */
const VERIFY_MARGIN_SHARE = 0.2
const VERIFY_MARGIN_DAYS_MIN = 1

/** Damage of a machine is told again where it is so many times what was told. */
const DAMAGE_STEP = 10

/** How long it may take to find out which machines damage touches, in milliseconds; only then it is told of the tenant. */
export const ATTRIBUTED_MS = 2 * 60_000

const counted = (count: number, one: string, many: string): string => (count === 1 ? `one ${one}` : `${count} ${many}`)

/** What known damage leaves unreadable of a machine. */
export interface DamageSeen {
  readonly tenant: string
  readonly tenantName: string
  readonly machine: string
  readonly points: number
  /** Of all of them together; a piece that many points share counts for each. */
  readonly lostBytes: number
}

/** Damaged records of a tenant, whatever they are part of. */
export interface RecordsSeen {
  readonly tenant: string
  readonly tenantName: string
  readonly records: number
  /** When the first of them was found. */
  readonly foundMs: number
}

/** Only grows while damage is there: what retention or a part of a repair takes away is no news, and all of it healed is. */
const damageValue = (bytes: number, before: string | null): string => {
  const magnitude = Math.floor(Math.log(Math.max(1, bytes)) / Math.log(DAMAGE_STEP))
  return String(Math.max(magnitude, before === null ? 0 : Number(before)))
}

/** `damage` of machines that have lost ranges, and of tenants with damaged records that no machine's ranges show. */
export const damageVerdicts = (
  { machines, tenants }: { readonly machines: readonly DamageSeen[]; readonly tenants: readonly RecordsSeen[] },
  nowMs: number,
  before: Before,
): Verdict[] => {
  const shown = new Set(machines.map(({ tenant }) => tenant))
  const ofMachines = machines.map(({ tenant, tenantName, machine, points, lostBytes }): Verdict => {
    const subject = { kind: 'damage', tenant, key: `damage ${machine}`, machine } as const
    const text =
      `${sizeText(lostBytes)} of ${counted(points, 'restore point', 'restore points')} of ${machine} cannot be read any more: the ` +
      'next backup reads these ranges again and heals what the disk still has; varve-gateway points --machine ' +
      `${machine} shows which, and varve-gateway point lost POINT the ranges`
    const value = damageValue(lostBytes, before(tenant, subject.key))
    const data = { points, lostBytes, tenant: tenantName }
    return {
      ...subject,
      holding: lostBytes === 0 ? null : { severity: 'error', value, text, data },
      good: `restore points of ${machine} are whole again`,
    }
  })
  const ofTenants = tenants.map(({ tenant, tenantName, records, foundMs }): Verdict => {
    const subject = { kind: 'damage', tenant, key: 'damage', machine: null } as const
    const held = before(tenant, subject.key) !== null
    const alone = !shown.has(tenant) && nowMs - foundMs >= ATTRIBUTED_MS
    const text =
      `${counted(records, 'record', 'records')} of tenant ${tenantName} cannot be read any more; look at the disk of the gateway ` +
      `(dmesg, smartctl) and let all be verified: varve-gateway verify --tenant ${tenantName}`
    const value = damageValue(records, before(tenant, subject.key))
    return {
      ...subject,
      holding: records > 0 && (held || alone) ? { severity: 'error', value, text, data: { records } } : null,
      good: `nothing of tenant ${tenantName} is damaged any more`,
    }
  })
  return [...ofTenants, ...ofMachines]
}

/** A machine whose plan says how old a verification may be. */
export interface VerifySeen {
  readonly machine: string
  readonly verifyDays: number
  /** The longest time since a point of it was verified, or was made where it never was, in milliseconds; null without a point. */
  readonly oldestMs: number | null
}

const verifyLimitMs = (days: number): number =>
  (days + Math.max(VERIFY_MARGIN_DAYS_MIN, days * VERIFY_MARGIN_SHARE)) * DAY_MS

/** `verify.stale` of a tenant: points that were not verified for longer than their plans say and a margin. */
export const verifyVerdict = (
  {
    tenant,
    name,
    machines,
  }: { readonly tenant: string; readonly name: string; readonly machines: readonly VerifySeen[] },
  before: Before,
): Verdict => {
  const subject = { kind: 'verify.stale', tenant, key: 'verify.stale', machine: null } as const
  const held = before(tenant, subject.key) !== null
  // once told, it is good again only where all are within what the plans say
  const limitOf = (days: number): number => (held ? days * DAY_MS : verifyLimitMs(days))
  const stale = machines.filter(({ verifyDays, oldestMs }) => oldestMs !== null && oldestMs > limitOf(verifyDays))
  const oldestMs = Math.max(0, ...stale.map((one) => one.oldestMs ?? 0))
  const text =
    `${counted(stale.length, 'machine', 'machines')} of tenant ${name} (${stale[0]?.machine ?? ''}${stale.length > 1 ? ', ...' : ''}) ` +
    `have restore points that were not verified for up to ${daysText(oldestMs / DAY_MS)}, longer than the plan says: see why ` +
    `(varve-gateway runs --kind verify), or verify now (varve-gateway verify --tenant ${name})`
  const data = { machines: stale.length, oldestMs }
  return {
    ...subject,
    holding: stale.length === 0 ? null : { severity: 'warning', value: 'stale', text, data },
    good: `all restore points of tenant ${name} are verified as their plans say`,
  }
}

/** A machine that has, or had, locked points. */
export interface LockSeen {
  readonly tenant: string
  readonly machine: string
  /** What its plan locks new points for; 0 for not at all. */
  readonly lockDays: number
  /** When the last lock of all its points ends, or ended. */
  readonly lastMs: number
}

/**
 * `lock.ending` of machines: locks end every day, and newer points have newer ones; what is told is that no newer one comes.
 * Where the plan locks nothing, it is told for once and over with the lock; where it does, it holds until there is one again.
 */
export const lockVerdicts = (seen: readonly LockSeen[], nowMs: number): Verdict[] =>
  seen.map(({ tenant, machine, lockDays, lastMs }) => {
    const subject = { kind: 'lock.ending', tenant, key: `lock.ending ${machine}`, machine } as const
    const wanted = lockDays > 0
    const daysLeft = (lastMs - nowMs) / DAY_MS
    const ended = daysLeft <= 0
    const near = daysLeft < (wanted ? Math.min(LOCK_DAYS, lockDays / 2) : LOCK_DAYS)
    const holds = near && (wanted || !ended)
    const until = new Date(lastMs).toISOString()
    const what = ended
      ? `the last lock of ${machine} has ended at ${until}, so all of its restore points can be removed`
      : `the last lock of ${machine} ends in ${daysText(daysLeft)}, at ${until}, and then all of its restore points can be removed`
    const way = wanted
      ? `its plan locks each new one for ${daysText(lockDays)}, but none comes: see why (varve-gateway coverage)`
      : 'lock one for longer where that is not meant (varve-gateway hold POINT --until 90d)'
    const severity = wanted ? 'warning' : 'info'
    const data = { lockedUntilMs: lastMs }
    return {
      ...subject,
      holding: holds ? { severity, value: ended ? 'ended' : 'soon', text: `${what}; ${way}`, data } : null,
      good: ended
        ? `the last lock of ${machine} has ended`
        : `${machine} has a restore point that is locked until ${until}`,
    }
  })
