// Forecasts: when a quota or the disk is used up if it goes on growing as it did; as they travel.
import * as v from 'valibot'
import { count, timeMs } from './schemas.ts'

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
