// Forecasts of a running gateway: of each tenant's quota and of the disk, over the daily samples of the catalog; last proofs.
import type { QuotaForecast, StoreForecast } from '../../protocol/forecast.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Quota } from '../catalog/tenants.ts'
import type { Space } from '../datastore/space.ts'
import { FORECAST_DAYS, forecastOf, growthOf } from './forecast.ts'

/** Growth is computed again after this time, in milliseconds: samples come once a day. */
const KNOWN_MS = 3_600_000

interface Uses {
  readonly catalog: Pick<Catalog, 'quotas' | 'upkeep'>
  readonly space: {
    readonly quotas: Pick<Space['quotas'], 'usedBytes'>
    readonly room: Space['room']
  }
  readonly clock: Pick<Clock, 'now' | 'elapsed'>
}

export class Forecasts {
  readonly #uses: Uses
  /** By tenant, null for the disk. */
  readonly #growths = new Map<string | null, { readonly bytesPerDay: number | null; readonly knownMs: number }>()

  constructor(uses: Uses) {
    this.#uses = uses
  }

  /** A tenant against its quotas. */
  async ofTenant(tenant: string, quota?: Quota): Promise<QuotaForecast> {
    const { softBytes, hardBytes } = quota ?? (await this.#quotaOf(tenant))
    const bytesPerDay = await this.#growth(tenant)
    const usedBytes = this.#uses.space.quotas.usedBytes(tenant)
    const soft = forecastOf(bytesPerDay, { usedBytes, limitBytes: softBytes })
    const hard = forecastOf(bytesPerDay, { usedBytes, limitBytes: hardBytes })
    return { usedBytes, softBytes, hardBytes, soft, hard }
  }

  /** The disk against its reserve; STORE_FAILED. */
  async ofStore(): Promise<StoreForecast> {
    const { freeBytes, totalBytes, reserveBytes } = await this.#uses.space.room()
    const limitBytes = Math.max(0, totalBytes - reserveBytes)
    const forecast = forecastOf(await this.#growth(null), { usedBytes: totalBytes - freeBytes, limitBytes })
    return { ...forecast, freeBytes, totalBytes, reserveBytes }
  }

  /** Days until a tenant's hard quota, or the soft one where that is all, is used up; null where that is not foreseen. */
  async quotaDays(tenant: string): Promise<number | null> {
    const { hardBytes, soft, hard } = await this.ofTenant(tenant)
    return (hardBytes === null ? soft : hard).daysLeft
  }

  /** Days until the disk has only its reserve left; null where that is not foreseen. STORE_FAILED. */
  async diskDays(): Promise<number | null> {
    return (await this.ofStore()).daysLeft
  }

  async #quotaOf(tenant: string): Promise<Quota> {
    const quotas = await this.#uses.catalog.quotas.list()
    return quotas.find((one) => one.tenant === tenant) ?? { softBytes: null, hardBytes: null }
  }

  async #growth(tenant: string | null): Promise<number | null> {
    const { catalog, clock } = this.#uses
    const nowMs = clock.elapsed()
    const known = this.#growths.get(tenant)
    if (known !== undefined && nowMs - known.knownMs < KNOWN_MS) return known.bytesPerDay
    const today = Math.floor(clock.now() / DAY_MS)
    const samples = await catalog.upkeep.samples({ tenant, fromDay: today - FORECAST_DAYS })
    const bytesPerDay = growthOf(samples, today)
    this.#growths.set(tenant, { bytesPerDay, knownMs: nowMs })
    return bytesPerDay
  }
}
