// The mark of a gateway that runs: in the catalog from its start to its end, so that the next start knows of a crash.
import type { Log } from '../../protocol/host/log.ts'
import { VERSION } from '../../protocol/host/version.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Events } from '../events/events.ts'

/** When the gateway that runs now was started; empty where none runs, or the last one ended as it should. */
export const RUNNING_SETTING = 'running'

interface Uses {
  readonly catalog: Pick<Catalog, 'settings' | 'watching'>
  readonly events: Pick<Events, 'tell'>
  readonly clock: Clock
  readonly log: Log
}

/** Disposing of it, as the last thing that an end does with the catalog, takes the mark away. */
export class StartMark implements AsyncDisposable {
  /** The time of the last thing that was recorded before this start; null where nothing was. */
  readonly recordedMs: number | null
  readonly #uses: Pick<Uses, 'catalog' | 'log'>

  private constructor(recordedMs: number | null, uses: Uses) {
    this.recordedMs = recordedMs
    this.#uses = uses
  }

  /** Sets the mark, and tells of the start and of a crash before it. */
  static async set(uses: Uses): Promise<StartMark> {
    const { catalog, events, clock } = uses
    const { settings, watching } = catalog
    const recordedMs = await watching.recordedMs()
    const left = (await settings.get({ name: RUNNING_SETTING })) ?? ''
    await settings.set({ name: RUNNING_SETTING, value: String(clock.now()) })
    if (left !== '') {
      const startedMs = Number(left)
      const text =
        `the gateway that was started at ${new Date(startedMs).toISOString()} did not end as it should (kill -9, loss of power, no ` +
        'memory left?); what it had acknowledged is there, and journalctl -u varve-gateway tells more'
      events.tell({ kind: 'gateway.crashed', severity: 'error', tenant: null, text, data: { startedMs } })
    }
    const text = `the gateway was started: varve-gateway ${VERSION}`
    events.tell({ kind: 'gateway.started', tenant: null, text, data: { version: VERSION } })
    return new StartMark(recordedMs, uses)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { catalog, log } = this.#uses
    await catalog.settings
      .set({ name: RUNNING_SETTING, value: '' })
      .catch((error: unknown) =>
        log.error({ err: error }, 'the end cannot be noted: the next start will take it for a crash'),
      )
  }
}
