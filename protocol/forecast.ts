// Forecasts: when a quota or the disk is used up if it goes on growing as it did; as they travel.
import * as v from 'valibot'
import { count, name, rows, timeMs } from './schemas.ts'

/**
 * Why there is no number of days: `history`, too little of it yet; `growth`, it does not grow; `far`, in more than ten years;
 * `limit`, there is none.
 */
export const FORECAST_REASONS = ['history', 'growth', 'far', 'limit'] as const
export type ForecastReason = (typeof FORECAST_REASONS)[number]

export const forecast = v.object({
  /** Whole days until the limit is reached, 0 where it is; null where none can be told. */
  daysLeft: v.nullable(count),
  /** Growth of a day, in bytes, negative where it shrinks; null where there is too little history. */
  bytesPerDay: v.nullable(v.number()),
  /** Why there is no number of days; null where there is one. */
  reason: v.nullable(v.picklist(FORECAST_REASONS)),
})
export type Forecast = v.InferOutput<typeof forecast>

/** A tenant against its quotas. */
export const quotaForecast = v.object({
  usedBytes: count,
  softBytes: v.nullable(count),
  hardBytes: v.nullable(count),
  soft: forecast,
  hard: forecast,
})
export type QuotaForecast = v.InferOutput<typeof quotaForecast>

/** Days of samples that a gateway keeps, and one answer of `store.growth` gives. */
export const GROWTH_DAYS_MAX = 400

/** Bytes in use on one day; days are counted from 1970, UTC. */
const sample = v.object({ day: count, bytes: count })

/** The disk of the gateway (that of the packs, where it has less room) against its reserve. */
export const storeForecast = v.object({
  ...forecast.entries,
  freeBytes: count,
  totalBytes: count,
  /** What uploads leave free. */
  reserveBytes: count,
})
export type StoreForecast = v.InferOutput<typeof storeForecast>

/** How long ago what a tenant has was last shown to be good. */
export const lastProof = v.object({
  /** The newest verification of a restore point; null for never. */
  verifiedMs: v.nullable(timeMs),
  /** The last look at the point that was verified longest ago; null while one never was, or there is none. */
  oldestMs: v.nullable(timeMs),
  /** Restore points that were never verified. */
  unverified: count,
  /** The newest restore that was tried; null for never. */
  drilledMs: v.nullable(timeMs),
})
export type LastProof = v.InferOutput<typeof lastProof>

/** How a tenant, or, for the platform, the disk of the gateway, has grown, and when that reaches its limit. */
export const storeGrowth = v.object({
  /** The day of the gateway's clock. */
  today: count,
  /** One a day, the oldest first; days on which the gateway did not run are missing. */
  samples: v.pipe(v.array(sample), v.maxLength(GROWTH_DAYS_MAX)),
  /** Null for the platform. */
  quota: v.nullable(quotaForecast),
  /** Null for a tenant, which is told nothing of the disk. */
  disk: v.nullable(storeForecast),
})
export type StoreGrowth = v.InferOutput<typeof storeGrowth>

/** How long ago points were verified, machine by machine. */
export const storeProof = v.object({
  ...lastProof.entries,
  /** Those whose oldest look is longest ago come first. */
  machines: rows(
    v.object({
      machine: name,
      points: count,
      /** When the point that was verified longest ago was, or was made where it never was. */
      oldestMs: timeMs,
    }),
  ),
  /** With those that are not listed. */
  machineCount: count,
})
export type StoreProof = v.InferOutput<typeof storeProof>
