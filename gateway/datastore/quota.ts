// What each tenant's pack files take, against its quota: counted as packs grow and go, checked before an upload appends.
import { VarveError } from '../../protocol/errors.ts'
import type { TenantQuota } from '../catalog/tenants.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { DatastoreLog } from '../common/log.ts'

/** Shortest time between two log lines about a tenant over its soft quota, in milliseconds. */
const SOFT_NOTICE_INTERVAL_MS = 60 * 60 * 1000

interface Account {
  quota: TenantQuota | null
  /** Bytes of the pack files. */
  usedBytes: number
  /** Bytes of appends that were let through and have not ended. */
  takenBytes: number
  /** When the log last reported it over its soft quota. */
  noticedMs: number
  /** When an upload was last refused for its hard quota. */
  refusedMs: number
}

const exceeded = ({ name, hardBytes }: TenantQuota, usedBytes: number): VarveError =>
  new VarveError(
    'QUOTA_EXCEEDED',
    `tenant ${name} uses ${sizeText(usedBytes)} of its quota of ${sizeText(hardBytes ?? 0)}; remove restore points and collect ` +
      `(varve-gateway prune, varve-gateway gc --tenant ${name}), or raise it (varve-gateway tenant quota ${name} --hard SIZE)`,
    { details: { usedBytes, quotaBytes: hardBytes } },
  )

/** Of all tenants, by uuid. */
export class Quotas {
  readonly #log: DatastoreLog
  readonly #nowMs: () => number
  readonly #accounts = new Map<string, Account>()

  /** `nowMs` is a clock that never goes back. */
  constructor(options: { log: DatastoreLog; nowMs: () => number }) {
    this.#log = options.log
    this.#nowMs = options.nowMs
  }

  /** Starts counting from these: bytes of the pack files by the tenant's uuid. */
  open(used: ReadonlyMap<string, number>): void {
    for (const [tenant, bytes] of used) this.#account(tenant).usedBytes = bytes
  }

  /** Takes over the catalog's quotas; a tenant without one has no limits. */
  set(quotas: readonly TenantQuota[]): void {
    for (const account of this.#accounts.values()) account.quota = null
    for (const quota of quotas) this.#account(quota.tenant).quota = quota
  }

  /** Bytes of a tenant's pack files, dead ones included. */
  usedBytes(tenant: string): number {
    return this.#account(tenant).usedBytes
  }

  /** The pack files of a tenant have grown by so many bytes, or shrunk where it is negative. */
  add(tenant: string, bytes: number): void {
    const account = this.#account(tenant)
    account.usedBytes = Math.max(0, account.usedBytes + bytes)
    const { quota, usedBytes, noticedMs } = account
    if (bytes <= 0 || quota === null || quota.softBytes === null || usedBytes <= quota.softBytes) return
    if (this.#nowMs() - noticedMs < SOFT_NOTICE_INTERVAL_MS) return
    account.noticedMs = this.#nowMs()
    const { name, softBytes, hardBytes } = quota
    this.#log.warn({ tenant: name, usedBytes, softBytes, hardBytes }, 'a tenant is over its soft quota')
  }

  /** QUOTA_EXCEEDED for a tenant that has used up its hard quota. */
  check(tenant: string): void {
    const account = this.#account(tenant)
    const { quota, usedBytes } = account
    if (quota !== null && quota.hardBytes !== null && usedBytes >= quota.hardBytes) this.#refuse(account, quota)
  }

  /**
   * Reserves bytes for one append until it has ended, so that concurrent appends cannot exceed the quota together.
   * QUOTA_EXCEEDED.
   */
  take(tenant: string, bytes: number): Disposable {
    const account = this.#account(tenant)
    const { quota, usedBytes, takenBytes } = account
    if (quota !== null && quota.hardBytes !== null && usedBytes + takenBytes + bytes > quota.hardBytes)
      this.#refuse(account, quota)
    account.takenBytes += bytes
    return { [Symbol.dispose]: () => void (account.takenBytes -= bytes) }
  }

  /** Whether an upload of the tenant was refused for its hard quota within so many milliseconds. */
  refusedWithin(tenant: string, ms: number): boolean {
    return this.#nowMs() - this.#account(tenant).refusedMs <= ms
  }

  #refuse(account: Account, quota: TenantQuota): never {
    account.refusedMs = this.#nowMs()
    throw exceeded(quota, account.usedBytes)
  }

  /** One for each tenant of the catalog. */
  #account(tenant: string): Account {
    let account = this.#accounts.get(tenant)
    if (account === undefined) {
      account = {
        quota: null,
        usedBytes: 0,
        takenBytes: 0,
        noticedMs: Number.NEGATIVE_INFINITY,
        refusedMs: Number.NEGATIVE_INFINITY,
      }
      this.#accounts.set(tenant, account)
    }
    return account
  }
}
