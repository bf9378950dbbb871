// Tenants and their quotas.
import type { Plan } from '../../protocol/plans.ts'
import type { None, Question, Transaction } from './call.ts'

export interface Tenant {
  /** A uuid. */
  readonly id: string
  readonly name: string
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly createdMs: number
}

/** Limits on the bytes of a tenant's pack files; null where there is none. */
export interface Quota {
  readonly softBytes: number | null
  readonly hardBytes: number | null
}

/** The quota of one tenant of the catalog. */
export interface TenantQuota extends Quota {
  readonly tenant: string
  readonly name: string
}

/** Changes of a quota; an absent limit stays as it is. */
export interface QuotaChange {
  readonly tenant: string
  readonly softBytes?: number | null | undefined
  readonly hardBytes?: number | null | undefined
}

/** A tenant with its quota and the size of its pack files. */
export interface TenantAccount extends Tenant, Quota {
  readonly packBytes: number
}

export interface Tenants {
  /** Adds a tenant, with a first plan if one is given; EXISTS. */
  readonly add: Transaction<
    { id: string; name: string; idKey: Uint8Array; chunkBytes: number; nowMs: number; plan?: Plan },
    Tenant
  >

  readonly list: Question<None, Tenant[]>

  /** By name, behind one name; or just the one named. */
  readonly page: Question<{ only: string | null; after: string | null; limit: number }, TenantAccount[]>

  readonly byName: Question<{ name: string }, Tenant | null>

  /** NOT_FOUND names those that may be meant: for the gateway's own user only. */
  readonly named: Question<{ name: string }, Tenant>

  readonly byId: Question<{ id: string }, Tenant | null>
}

export interface Quotas {
  /** Of every tenant. */
  readonly list: Question<None, TenantQuota[]>

  /**
   * Changes the given limits, null for none, and returns the quota as it is then. PARAMS_INVALID for a soft one above the hard
   * one.
   */
  readonly set: Transaction<QuotaChange, Quota>
}
