// What the catalog says of how much a tenant may keep.

/** Limits on the bytes of a tenant's pack files; null where there is none. */
export interface Quota {
  readonly softBytes: number | null
  readonly hardBytes: number | null
}

/** The quota of one tenant of the catalog. */
export interface TenantQuota extends Quota {
  readonly uuid: string
  readonly name: string
}
