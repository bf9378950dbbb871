// Which upkeep is due: prune, collection, verification and state of each tenant, and the check of the audit log. Pure.
import type { RunKind } from '../../protocol/runs.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { UpkeepNote, UpkeepTenant } from '../catalog/upkeep.ts'
import { collectionGain, collectionNote } from './collection-gain.ts'

const HOUR_MS = 3_600_000

/** Slots of upkeep: a kind has one slot an hour, so that two gateways plan the same one. */
const SLOT_MS = HOUR_MS

/** A tenant is pruned behind backups at most so often, and at least daily, in milliseconds. */
const PRUNE_INTERVAL_MS = HOUR_MS

/** A collection pays from this part of the tenant's bytes on, or from so many bytes. */
const PAYS_PART = 0.1
const PAYS_BYTES = 2 ** 30

/** Where the disk or a quota is nearly full it pays from this part on, or from so many bytes. */
const PAYS_LOW_PART = 0.01
const PAYS_LOW_BYTES = 64 * 2 ** 20

/** What pays so well, as a part of the tenant's bytes, does not wait for quiet. */
const PRESSING_PART = 0.2

/** Time between collections: while nothing is short, and while it is, in milliseconds. */
const COLLECT_INTERVAL_MS = 20 * HOUR_MS
const COLLECT_LOW_INTERVAL_MS = 6 * HOUR_MS

/** After so long there is a collection if anything was removed; a day later it waits for quiet no more. */
const COLLECT_ALWAYS_MS = 7 * DAY_MS

/** What a tenant has used of its quota when that counts as nearly full. */
const QUOTA_LOW_PART = 0.9

/** Quiet ends so long before the next backup of the tenant, in milliseconds. */
const QUIET_BEFORE_MS = 30 * 60_000

const VERIFY_INTERVAL_MS = HOUR_MS
const STATE_INTERVAL_MS = 7 * DAY_MS

/** Wait after the first failure of a kind; it doubles with each further one, to a day. */
const FAILED_WAIT_MS = HOUR_MS

/** A tenant with what the catalog does not know. */
export interface TenantWorld extends UpkeepTenant {
  /** When its next backup is planned; null where none is known. */
  readonly backupDueMs: number | null
  /** Machines whose points are to be verified, and those of them that are older than their plan allows. */
  readonly verifications: { readonly due: number; readonly overdue: number }
}

export interface UpkeepWorld {
  readonly tenants: readonly TenantWorld[]
  readonly platform: readonly UpkeepNote[]
  /** Upkeep that is due or running already, by `keyOf`. */
  readonly open: ReadonlySet<string>
  /** The disk has little more than its reserve. */
  readonly diskLow: boolean
  /** False outside the quiet hours, where there are any. */
  readonly quiet: boolean
}

/** Upkeep that is due; the tenant is null for the gateway's own. */
export interface DueUpkeep {
  readonly tenant: string | null
  readonly kind: RunKind
  /** Its slot. */
  readonly dueMs: number
}

export const keyOf = (tenant: string | null, kind: RunKind): string => `${tenant ?? ''} ${kind}`

/** How one kind stands at an instant: times that are later than now came from a clock that was ahead and count as none. */
class Standing {
  readonly #note: UpkeepNote | undefined
  readonly #nowMs: number

  constructor(notes: readonly UpkeepNote[], kind: RunKind, nowMs: number) {
    this.#note = notes.find((note) => note.kind === kind)
    this.#nowMs = nowMs
  }

  get memory(): string | undefined {
    return this.#note?.note
  }

  /** Since it ended last, in milliseconds. */
  get sinceTriedMs(): number {
    return this.#since(this.#note?.triedMs)
  }

  /** Since it ended well, or since `otherwiseMs` where it never did. */
  sinceDoneMs(otherwiseMs: number): number {
    return this.#since(this.#note?.doneMs ?? otherwiseMs)
  }

  /** It failed, and its time to try again has not come. */
  get waits(): boolean {
    const failures = this.#note?.failures ?? 0
    return failures > 0 && this.sinceTriedMs < Math.min(DAY_MS, FAILED_WAIT_MS * 2 ** Math.min(failures - 1, 10))
  }

  #since(thenMs: number | undefined): number {
    return thenMs === undefined || thenMs > this.#nowMs ? Number.POSITIVE_INFINITY : this.#nowMs - thenMs
  }
}

/** The place of the newest point that a prune has looked at. */
const prunedSeq = (memory: string | undefined): number => {
  const { seq } = JSON.parse(memory ?? '{}') as { readonly seq?: unknown }
  return typeof seq === 'number' ? seq : 0
}

const pruneIsDue = ({ points, newestSeq, notes }: TenantWorld, nowMs: number): boolean => {
  const standing = new Standing(notes, 'prune', nowMs)
  if (points === 0 || standing.waits) return false
  const grown = newestSeq > prunedSeq(standing.memory)
  return standing.sinceTriedMs >= (grown ? PRUNE_INTERVAL_MS : DAY_MS)
}

const isLow = ({ packBytes, quotaBytes }: TenantWorld, { diskLow }: UpkeepWorld): boolean =>
  diskLow || (quotaBytes !== null && packBytes >= quotaBytes * QUOTA_LOW_PART)

const isQuiet = ({ backups, backupDueMs }: TenantWorld, { quiet }: UpkeepWorld, nowMs: number): boolean =>
  quiet && backups === 0 && (backupDueMs === null || backupDueMs - nowMs > QUIET_BEFORE_MS)

const collectIsDue = (tenant: TenantWorld, world: UpkeepWorld, nowMs: number): boolean => {
  const { packBytes, notes, createdMs } = tenant
  const standing = new Standing(notes, 'collect', nowMs)
  const low = isLow(tenant, world)
  const gain = collectionGain(tenant, collectionNote(standing.memory))
  if (standing.waits || (gain.bytes === 0 && !gain.removed)) return false
  if (standing.sinceTriedMs < (low ? COLLECT_LOW_INTERVAL_MS : COLLECT_INTERVAL_MS)) return false
  const pays = gain.bytes >= Math.min(packBytes * PAYS_PART, PAYS_BYTES)
  if (low) return pays || gain.bytes >= Math.min(packBytes * PAYS_LOW_PART, PAYS_LOW_BYTES)
  const sinceDoneMs = standing.sinceDoneMs(createdMs)
  const always = sinceDoneMs >= COLLECT_ALWAYS_MS && (gain.removed || gain.bytes >= packBytes * PAYS_LOW_PART)
  const pressing = gain.bytes >= packBytes * PRESSING_PART || sinceDoneMs >= COLLECT_ALWAYS_MS + DAY_MS
  return (pays || always) && (pressing || isQuiet(tenant, world, nowMs))
}

const verifyIsDue = ({ verifications, notes }: TenantWorld, { quiet }: UpkeepWorld, nowMs: number): boolean => {
  const standing = new Standing(notes, 'verify', nowMs)
  if (standing.waits || standing.sinceTriedMs < VERIFY_INTERVAL_MS) return false
  return verifications.overdue > 0 || (quiet && verifications.due > 0)
}

const stateIsDue = ({ createdMs, notes }: TenantWorld, nowMs: number): boolean => {
  const standing = new Standing(notes, 'state', nowMs)
  return !standing.waits && standing.sinceDoneMs(createdMs) >= STATE_INTERVAL_MS
}

/** One tenant's upkeep: what changes packs and what reads all of them take turns, a prune goes first. */
const ofTenant = (tenant: TenantWorld, world: UpkeepWorld, nowMs: number): RunKind[] => {
  const isOpen = (kind: RunKind): boolean => world.open.has(keyOf(tenant.tenant, kind))
  const state = !isOpen('state') && stateIsDue(tenant, nowMs) ? (['state'] as const) : []
  if (isOpen('prune') || isOpen('collect') || isOpen('verify')) return [...state]
  if (pruneIsDue(tenant, nowMs)) return ['prune', ...state]
  if (collectIsDue(tenant, world, nowMs)) return ['collect', ...state]
  return verifyIsDue(tenant, world, nowMs) ? ['verify', ...state] : [...state]
}

/** What is due, tenant by tenant, the check of the audit log first. */
export const planUpkeep = (world: UpkeepWorld, nowMs: number): DueUpkeep[] => {
  const dueMs = Math.floor(nowMs / SLOT_MS) * SLOT_MS
  const audit = new Standing(world.platform, 'audit', nowMs)
  const auditIsDue = !world.open.has(keyOf(null, 'audit')) && !audit.waits && audit.sinceDoneMs(0) >= DAY_MS
  return [
    ...(auditIsDue ? [{ tenant: null, kind: 'audit' as const, dueMs }] : []),
    ...world.tenants.flatMap((tenant) =>
      ofTenant(tenant, world, nowMs).map((kind) => ({ tenant: tenant.tenant, kind, dueMs })),
    ),
  ]
}
