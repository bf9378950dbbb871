// The methods about tenants: which there are, and how much of the datastore they may take.
import * as v from 'valibot'
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, isChunkBytes } from './chunk.ts'
import { audited, plain, PLATFORM } from './method.ts'
import { plan } from './plans.ts'
import * as s from './schemas.ts'

const quotaBytes = v.nullable(s.count)

/** A tenant as the platform sees it. */
export const tenant = v.object({
  name: s.name,
  id: s.uuid,
  chunkBytes: s.count,
  createdMs: s.timeMs,
  quota: v.object({ softBytes: quotaBytes, hardBytes: quotaBytes }),
  /** Bytes of its pack files: what quotas count. */
  packBytes: s.count,
})
export type TenantView = v.InferOutput<typeof tenant>

const chunkBytes = v.pipe(
  s.count,
  v.minValue(CHUNK_BYTES_MIN),
  v.maxValue(CHUNK_BYTES_MAX),
  v.check(isChunkBytes, 'not a power of two'),
)

export const TENANT_METHODS = {
  'tenants.list': {
    ...plain,
    roles: PLATFORM,
    params: v.object({
      /** Just this one; NOT_FOUND. */
      tenant: v.optional(v.nullable(s.name), null),
      ...s.page,
    }),
    result: v.object({ tenants: s.rows(tenant), next: s.next }),
  },
  'tenants.add': {
    ...audited,
    roles: PLATFORM,
    params: v.object({
      tenant: s.name,
      /** Size of its chunks, fixed for ever. */
      chunkBytes,
      /** Gives it a first plan: every night, in the gateway's time zone, for all machines. */
      firstPlan: v.optional(v.boolean(), true),
    }),
    result: v.object({ tenant, plan: v.nullable(plan) }),
  },
  'tenants.setQuota': {
    ...audited,
    roles: PLATFORM,
    params: v.object({
      tenant: s.name,
      /** Past it the log and the accounting say so; nil for none, absent for what it was. */
      softBytes: v.optional(quotaBytes),
      /** Past it backups are refused; nil for none, absent for what it was. */
      hardBytes: v.optional(quotaBytes),
    }),
    result: v.object({ tenant }),
  },
} as const
